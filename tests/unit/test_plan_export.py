"""What is exported and applied again is no change, and nothing goes unsaid."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec
from pg_operator.api.validation import VALIDATORS
from pg_operator.plan.creators import Creators, effective_creators
from pg_operator.plan.desired import Entitlements, desired_database, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.export import (
    Choices,
    DatabaseInventory,
    Export,
    Inventory,
    RoleInventory,
    export,
)
from pg_operator.plan.extensions import judge_extensions
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.memberships import desired_memberships
from pg_operator.plan.operations import MarkDatabase, MarkRole
from pg_operator.plan.permissions import declared_scope, desired_grants
from pg_operator.plan.role_properties import desired_properties
from pg_operator.plan.state import (
    UNSET,
    Catalog,
    DatabaseState,
    Installed,
    Locale,
    Membership,
    RoleParameter,
    RoleState,
    Server,
    UnverifiedMark,
)
from tests.unit.plan_examples import (
    DATABASE,
    LOGIN,
    ROLE,
    kinds,
    on_column,
    on_database,
    on_function,
    on_future,
    on_schema,
    on_sequence,
    on_table,
    on_type,
    server,
)

SCHEMAS = ("app", "public", "Odd")
ROLES = ("app", "reader", "writer")
STRANGER = "stranger"  # a superuser who creates things
CHOICES = Choices("main", "postgres-admin", "shop")
FUTURE: Mapping[ObjectKind, tuple[str, ...]] = {
    "table": ("SELECT", "INSERT"),
    "sequence": ("USAGE",),
    "function": ("EXECUTE",),
}
CONTEXTS = {"work_mem": "user", "log_statement": "superuser"}
laws = settings(derandomize=True, database=None)


def place(schema: str) -> dict[str, str]:
    return {"schema": schema, "database": "orders"}


def objects() -> frozenset[Securable]:
    """Return all there is in the one database; column x of table a is asked for."""
    return frozenset(grant.on for grant in existing_grants() if grant.on.name)


def existing_grants() -> Grants:
    return frozenset().union(
        on_database("orders", "CONNECT", "CREATE"),
        *(
            grants
            for schema in SCHEMAS
            for grants in (
                on_schema(schema, "USAGE", "CREATE"),
                on_table("a", "SELECT", "INSERT", **place(schema)),
                on_table('B "b"', "SELECT", "INSERT", **place(schema)),
                on_column("a", "x", "SELECT", **place(schema)),
                on_sequence("ids", "USAGE", **place(schema)),
                on_function("f(integer)", "EXECUTE", **place(schema)),
                on_type("mood", "USAGE", **place(schema)),
            )
        ),
    )


def future_grants() -> Grants:
    return frozenset().union(
        *(
            on_future(kind, creator, *words, **place(schema))
            for schema in SCHEMAS
            for creator in (*ROLES[1:], STRANGER)
            for kind, words in FUTURE.items()
        )
    )


def options(grants: Grants) -> Grants:
    return frozenset(grant._replace(grantable=True) for grant in grants)


def subset(items: Grants) -> st.SearchStrategy[Grants]:
    """Draw some, most or few of the grants, by one seed."""
    ordered = sorted(items)

    def drawn(seed: int) -> Grants:
        chance = random.Random(seed)  # noqa: S311 (no secret)
        share = chance.choice((0.1, 0.5, 0.9, 1.0))
        return frozenset(item for item in ordered if chance.random() < share)

    return st.integers(0, 2**32).map(drawn)


def holding(
    parts: tuple[Grants, Grants, Grants],
) -> Grants:
    """Give the privilege to whoever may pass it on."""
    existing, future, passed_on = parts
    held = existing | future
    return held | (options(held) & options(passed_on))


held = st.tuples(
    subset(existing_grants()),
    subset(future_grants()),
    subset(existing_grants() | future_grants()),
).map(holding)


def role_state(name: str, **fields: Any) -> RoleState:
    state = RoleState(
        name,
        oid=1,
        login=True,
        superuser=False,
        connection_limit=-1,
        self_member=True,
        inherit=True,
        valid_until="infinity",
        mark=None,
    )
    return replace(state, **fields)


def stranger() -> RoleInventory:
    return RoleInventory(role_state(STRANGER, superuser=True))


def database_state(**fields: Any) -> DatabaseState:
    state = DatabaseState(
        "orders",
        oid=1,
        owner=LOGIN,
        encoding="UTF8",
        locale=Locale("libc", "C.UTF-8"),
        tablespace="pg_default",
        allow_connections=True,
        connection_limit=-1,
        public_privileges=frozenset(),
        schemas=frozenset(SCHEMAS),
        schema_owners=dict.fromkeys(SCHEMAS, LOGIN),
        public_schema_open=False,
        mark=None,
    )
    return replace(state, **fields)


def inventory(
    roles: list[RoleInventory],
    database: DatabaseInventory | None = None,
    *,
    of: Server | None = None,
) -> Inventory:
    return Inventory(
        server() if of is None else of,
        "postgres",
        frozenset({LOGIN}),
        databases=(database or DatabaseInventory(database_state(), objects=objects()),),
        roles=(*roles, stranger()),
        contexts=CONTEXTS,
    )


def specs_of(exported: Export) -> dict[str, Mapping[str, Any]]:
    """Return the specs by names in PostgreSQL; that of the cluster has none."""
    return {
        one.spec.get("roleName") or one.spec.get("name") or "": one.spec
        for one in exported.objects
    }


def remarks_of(exported: Export, name: str) -> list[str]:
    (found,) = (
        one.remarks
        for one in exported.objects
        if name in {one.spec.get("roleName"), one.spec.get("name")}
    )
    return list(found)


@dataclass(frozen=True)
class Reapplied:
    """What a reconciler makes of an exported role on the server it comes from."""

    grants: Grants
    operations: set[type]
    pending: tuple[object, ...]


def reapply(role: RoleInventory, exported: Export, seen: Inventory) -> Reapplied:
    specs = specs_of(exported)
    spec = DatabaseRoleSpec.parse(specs[role.state.name])
    cluster = specs[""]
    database = DatabaseSpec.parse(specs["orders"])
    (observed_database,) = seen.databases
    version = seen.server.version_number
    declared = {one.name: one.creators for one in database.schemas if one.creators}
    creators = {
        schema: effective_creators(
            declared.get(schema),
            observed_database.creators.get(schema, Creators()),
            role=role.state.name,
        )
        for schema in SCHEMAS
    }
    wanted: Grants = frozenset()
    pending: tuple[object, ...] = ()
    for permission in spec.permissions:
        grants, missing = desired_grants(
            permission,
            catalog=Catalog(
                "orders", observed_database.state.schemas, observed_database.objects
            ),
            server_version=version,
            creators=creators,
        )
        wanted |= grants
        pending += missing
    memberships = desired_memberships(
        spec.member_of, server_version=version, inherit=spec.inherit is not False
    )
    parameters = {RoleParameter(name): value for name, value in spec.parameters.items()}
    parameters |= {
        RoleParameter(name, permission.database): value
        for permission in spec.permissions
        for name, value in permission.parameters.items()
    }
    properties = desired_properties(
        spec.attributes,
        parameters,
        allowed_attributes=cluster.get("allowedRoleAttributes", ()),
        allowed_parameters=cluster.get("allowedParameters", ()),
        contexts=CONTEXTS,
    )
    observed = replace(
        role.state,
        grants=frozenset(
            grant
            for grant in role.state.grants
            if grant.on not in role.owned or grant in wanted
        ),
    )
    desired = desired_role(
        spec,
        claimant=ROLE,
        observed=observed,
        server=seen.server,
        password=None,
        grants=wanted,
        scope=declared_scope(
            spec.permissions, server_version=version, creators=creators
        ),
        entitlements=Entitlements(memberships, properties),
    )
    return Reapplied(
        wanted,
        set(kinds(diff(desired, observed))),
        (*pending, *memberships.pending, *properties.pending),
    )


def assert_valid(exported: Export) -> None:
    for one in exported.objects:
        assert VALIDATORS[one.document["kind"]](one.document).errors == ()


@laws
@given(
    st.tuples(held, held, held),
    st.builds(server, superuser=st.booleans()),
    st.integers(0, 3),
)
def test_exported_privileges_are_no_change_and_the_others_are_said(
    grants: tuple[Grants, ...], of: Server, seed: int
) -> None:
    owned = frozenset({Securable("table", "orders", "app", "a")}) if seed % 2 else None
    roles = [
        RoleInventory(
            role_state(name, grants=each),
            owned=owned if owned and name == "writer" else frozenset(),
        )
        for name, each in zip(ROLES, grants, strict=True)
    ]
    creators = {"app": Creators(database_owner=LOGIN, writers=frozenset({"writer"}))}
    database = DatabaseInventory(
        database_state(), objects=objects(), creators=creators if seed & 2 else {}
    )
    seen = inventory(roles, database, of=of)

    exported = export(seen, CHOICES)

    assert_valid(exported)
    shuffled = replace(seen, roles=tuple(reversed(seen.roles)))
    assert export(shuffled, CHOICES) == exported
    for role in roles:
        again = reapply(role, exported, seen)
        assert again.pending == ()
        assert again.operations == {MarkRole}
        said = " ".join(remarks_of(exported, role.state.name))
        for grant in role.state.grants - again.grants:
            is_said = all(
                part in said
                for part in (grant.privilege, grant.on.schema, grant.on.creator)
            )
            assert is_said or grant.on in role.owned, grant


@pytest.mark.parametrize("schema", ["app", "public"])
def test_star_is_written_where_default_privileges_make_it_true(schema: str) -> None:
    everything = frozenset().union(
        on_table("a", "SELECT", **place(schema)),
        on_table('B "b"', "SELECT", **place(schema)),
        on_future("table", "writer", "SELECT", **place(schema)),
    )
    reader = RoleInventory(role_state("reader", grants=everything))
    writer = RoleInventory(role_state("writer"))

    specs = specs_of(export(inventory([reader, writer]), CHOICES))

    (permission,) = specs["reader"]["permissions"]
    star = [{"name": "*", "privileges": ["SELECT"]}]
    assert permission["schemas"] == [{"name": schema, "tables": star}]
    declared = {one["name"]: one.get("creators") for one in specs["orders"]["schemas"]}
    assert declared[schema] == ["writer"]


def test_star_is_not_written_for_what_nobody_will_get() -> None:
    everything = on_table("a", "SELECT") | on_table('B "b"', "SELECT")
    reader = RoleInventory(role_state("reader", grants=everything))

    specs = specs_of(export(inventory([reader]), CHOICES))

    (permission,) = specs["reader"]["permissions"]
    (schema,) = permission["schemas"]
    assert [table["name"] for table in schema["tables"]] == ['B "b"', "a"]


def test_more_objects_than_a_list_takes_are_said_and_not_cut_off() -> None:
    names = [f"t{number:03}" for number in range(300)]
    grants: Grants = frozenset().union(*(on_table(name, "SELECT") for name in names))
    database = DatabaseInventory(
        database_state(), objects=frozenset(grant.on for grant in grants)
    )
    reader = RoleInventory(role_state("reader", grants=grants))

    exported = export(inventory([reader], database), CHOICES)

    assert "permissions" not in specs_of(exported)["reader"]
    (remark,) = (one for one in remarks_of(exported, "reader") if "SELECT" in one)
    assert "SELECT on 300 tables of schema app" in remark


def test_privileges_of_an_owner_are_nobodys_to_declare() -> None:
    held: Grants = frozenset().union(
        on_database("orders", "CONNECT"),
        on_schema("app", "USAGE"),
        on_table("a", "SELECT", "INSERT"),
        on_column("a", "id", "UPDATE"),
    )
    owner = RoleInventory(
        role_state("writer", grants=held), owned=frozenset(one.on for one in held)
    )

    exported = export(inventory([owner]), CHOICES)

    assert "permissions" not in specs_of(exported)["writer"]
    assert not any("INSERT" in one for one in remarks_of(exported, "writer"))


@laws
@given(
    st.fixed_dictionaries(
        {
            "owner": st.sampled_from((LOGIN, "writer", STRANGER)),
            "locale": st.sampled_from(
                (
                    Locale("libc", "C"),
                    Locale("icu", "de-DE"),
                    Locale("libc", "English_United States.1252"),
                    UNSET,
                )
            ),
            "tablespace": st.sampled_from(("pg_default", "fast")),
            "connection_limit": st.sampled_from((-1, 0, 1, 50)),
            "public_privileges": st.sampled_from(
                (frozenset(), frozenset({"CONNECT"}), frozenset({"CONNECT", "CREATE"}))
            ),
            "public_schema_open": st.booleans(),
            "settings": st.sampled_from(
                (
                    {},
                    {"work_mem": "1MB", "timezone": "UTC"},
                    {"log_statement": "all", "app.x": "a\nb"},
                )
            ),
            "schema_owners": st.sampled_from(("writer", STRANGER)).map(
                lambda owner: dict.fromkeys(SCHEMAS, owner)
            ),
            "extensions": st.sampled_from(
                (
                    {"plpgsql": Installed("pg_catalog", "1.0")},
                    {
                        "hstore": Installed("Odd", "1.8"),
                        "dblink": Installed("app", "1.2"),
                        "gone": Installed("app", "0.1"),
                    },
                )
            ),
        }
    ),
    st.builds(
        server, version=st.sampled_from((140000, 180000)), superuser=st.booleans()
    ),
)
def test_exported_database_is_no_change(fields: dict[str, Any], of: Server) -> None:
    state = database_state(**fields)
    trusted = {"plpgsql": True, "hstore": True, "dblink": False}
    database = DatabaseInventory(state, objects(), trusted=trusted)
    writer = RoleInventory(role_state("writer"))
    seen = inventory([writer], database, of=of)

    exported = export(seen, CHOICES)

    assert_valid(exported)
    specs = specs_of(exported)
    spec = DatabaseSpec.parse(specs["orders"])
    extensions = judge_extensions(
        spec.extensions,
        trusted=trusted,
        allowed=specs[""].get("allowedExtensions", ()),
    )
    assert extensions.pending == ()
    desired = desired_database(
        spec,
        claimant=DATABASE,
        observed=state,
        server=seen.server,
        roles={"writer"},
        parameters=spec.parameters,
        extensions=extensions.usable,
    )
    assert set(kinds(diff(desired, state))) == {MarkDatabase}
    said = " ".join(remarks_of(exported, "orders"))
    assert "'Odd'" in said
    assert ("app.x" in said) == ("app.x" in state.settings)
    assert ("'gone'" in said) == ("gone" in state.extensions)


def test_properties_of_a_role_are_no_change() -> None:
    memberships = frozenset(
        {
            Membership("writer", admin=True, inherit=True, set=True, grantor=LOGIN),
            Membership("writer", grantor=STRANGER, own=False, inherit=True, set=True),
            Membership("pg_monitor", inherit=False, set=False, grantor="x", own=False),
        }
    )
    parameters = {
        RoleParameter("work_mem"): "1MB",
        RoleParameter("log_statement", "orders"): "all",
        RoleParameter("work_mem", "elsewhere"): "2MB",
    }
    reader = RoleInventory(
        role_state(
            "reader",
            connection_limit=3,
            inherit=False,
            valid_until="2031-05-01T10:00:00Z",
            attributes=frozenset({"CREATEDB"}),
            parameters=parameters,
            memberships=memberships,
        )
    )
    seen = inventory([reader, RoleInventory(role_state("writer"))])

    exported = export(seen, CHOICES)

    assert_valid(exported)
    again = reapply(reader, exported, seen)
    assert (again.operations, again.pending) == ({MarkRole}, ())
    specs = specs_of(exported)
    assert specs["reader"]["memberOf"] == [
        {"role": "pg_monitor", "set": False},
        {"role": "writer", "inherit": True, "admin": True},
    ]
    assert specs[""]["allowedMemberships"] == ["pg_monitor"]
    assert specs[""]["allowedRoleAttributes"] == ["CREATEDB"]
    assert specs[""]["allowedParameters"] == ["log_statement"]
    said = " ".join(remarks_of(exported, "reader"))
    assert "another membership in 'writer', granted by 'stranger'" in said
    assert "1 parameters in database 'elsewhere'" in said


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (STRANGER, "it is a superuser"),
        (LOGIN, "the operator's own login"),
        ("pg_read_server_files", "access to the server's host"),
        ("rds_superuser", "the provider's own"),
        ("unchosen", "allowedMemberships would open it"),
    ],
)
def test_membership_that_would_open_too_much_is_said_only(
    group: str, reason: str
) -> None:
    joined = frozenset({Membership(group, inherit=True, set=True)})
    reader = RoleInventory(role_state("reader", memberships=joined))

    exported = export(inventory([reader]), CHOICES)

    assert "memberOf" not in specs_of(exported)["reader"]
    assert "allowedMemberships" not in specs_of(exported)[""]
    assert any(group in one and reason in one for one in remarks_of(exported, "reader"))


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("boss", {"superuser": True}, "superuser"),
        ("rdsadmin", {}, "reserved"),
        ("rds_iam", {}, "provider's own"),
        (LOGIN, {}, "operator's own login"),
        ("Reader", {}, "must be 1-63 characters"),
        ("mine", {"mark": UnverifiedMark()}, "managed already"),
    ],
)
def test_role_that_can_be_no_object_is_named_with_the_reason(
    name: str, fields: dict[str, Any], reason: str
) -> None:
    exported = export(inventory([RoleInventory(role_state(name, **fields))]), CHOICES)

    assert name not in specs_of(exported)
    assert any(name in one and reason in one for one in exported.left_out)


def test_role_that_the_login_may_not_alter_is_named_with_the_remedy() -> None:
    role = RoleInventory(role_state("reader"), is_alterable=False)

    exported = export(inventory([role]), CHOICES)

    assert "reader" not in specs_of(exported)
    assert any("WITH ADMIN OPTION" in one for one in exported.left_out)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "postgres"}, "DSN's own database"),
        ({"allow_connections": False}, "it lets nobody in"),
        ({"connection_limit": -2}, "DROP DATABASE was interrupted"),
        ({"name": "Shop"}, "must be 1-63 characters"),
        ({"mark": UnverifiedMark()}, "managed already"),
    ],
)
def test_database_that_can_be_no_object_is_named_with_the_reason(
    fields: dict[str, Any], reason: str
) -> None:
    database = DatabaseInventory(database_state(**fields))

    exported = export(inventory([], database), CHOICES)

    assert [one.document["kind"] for one in exported.objects] == ["DatabaseCluster"]
    assert any(reason in one for one in exported.left_out)


def test_database_of_a_role_that_is_taken_over_can_be_altered_then() -> None:
    database = DatabaseInventory(database_state(owner="writer"), is_alterable=False)
    writer = RoleInventory(role_state("writer"))

    assert "orders" in specs_of(export(inventory([writer], database), CHOICES))
    assert "orders" not in specs_of(export(inventory([], database), CHOICES))


def test_only_what_is_chosen_is_exported() -> None:
    roles = [RoleInventory(role_state(name)) for name in ROLES]
    choices = replace(
        CHOICES, roles=frozenset({"reader", "nobody"}), databases=frozenset({"orders"})
    )

    exported = export(inventory(roles), choices)

    assert set(specs_of(exported)) == {"", "orders", "reader"}
    assert exported.left_out == ("role 'nobody': there is none",)
    adoption = specs_of(exported)[""]["adoption"]
    assert adoption["roles"] == [{"name": "reader", "namespace": "shop"}]


def test_names_that_kubernetes_refuses_become_like_ones_of_their_own() -> None:
    names = ("a_b", "a-b", "a$b", "_", "c")
    roles = [RoleInventory(role_state(name)) for name in names]

    exported = export(inventory(roles), CHOICES)

    given = {
        one.spec["roleName"]: one.document["metadata"]["name"]
        for one in exported.objects
        if "roleName" in one.spec
    }
    assert given["a-b"] == "a-b"
    assert given["c"] == "c"
    assert len(set(given.values())) == len(names)


def test_grant_of_another_grantor_is_exported_and_named() -> None:
    held = on_database("orders", "CONNECT")
    reader = RoleInventory(
        role_state("reader", grants=held), by_others={"writer": held}
    )

    exported = export(inventory([reader]), CHOICES)

    (permission,) = specs_of(exported)["reader"]["permissions"]
    assert permission == {"database": "orders", "privileges": ["CONNECT"]}
    assert any("granted by 'writer'" in one for one in remarks_of(exported, "reader"))


def test_default_privileges_of_a_stranger_are_said_and_not_declared() -> None:
    grants = frozenset(
        {
            *on_future("table", STRANGER, "SELECT"),
            *on_future("table", "writer", "SELECT"),
            *on_table("a", "SELECT"),
            *on_table('B "b"', "SELECT"),
        }
    )
    reader = RoleInventory(role_state("reader", grants=grants))
    writer = RoleInventory(role_state("writer"))

    exported = export(inventory([reader, writer]), CHOICES)

    declared = specs_of(exported)["orders"]["schemas"]
    assert declared == [{"name": "app", "creators": ["writer"]}]
    (remark,) = (one for one in remarks_of(exported, "reader") if STRANGER in one)
    assert "SELECT on future tables of role stranger" in remark


def test_grants_beyond_the_words_of_the_table_are_said() -> None:
    strange = frozenset({Grant(Securable("table", "orders", "app", "a"), "TELEPORT")})
    reader = RoleInventory(role_state("reader", grants=strange))

    exported = export(inventory([reader]), CHOICES)

    assert any("TELEPORT" in one for one in remarks_of(exported, "reader"))
