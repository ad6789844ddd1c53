"""Laws that every plan obeys, on a model of the server.

Each states something about all specs and all servers of a small world: two databases
with two schemas and a few objects of each kind, of which any may be missing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec, Permission
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import deletion_database, deletion_role
from pg_operator.plan.desired import (
    Entitlements,
    desired_database,
    desired_mark,
    desired_role,
)
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.memberships import desired_memberships
from pg_operator.plan.operations import (
    AlterRole,
    CreateDatabase,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    TerminateSessions,
)
from pg_operator.plan.permissions import declared_scope, desired_grants
from pg_operator.plan.policies import sentinel
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS
from pg_operator.plan.role_properties import DesiredProperties
from pg_operator.plan.scope import claim_everything, covered, declared, hold
from pg_operator.plan.state import (
    UNSET,
    Catalog,
    DatabaseState,
    Dependencies,
    Mark,
    Membership,
    Password,
    RoleParameter,
    RoleState,
    Server,
)
from tests.unit.plan_examples import (
    DATABASE,
    LOGIN,
    ROLE,
    database_spec,
    on_column,
    on_database,
    on_function,
    on_future,
    on_schema,
    on_sequence,
    on_table,
    on_type,
    permission,
    role_spec,
    server,
)
from tests.unit.plan_simulation import simulate_database, simulate_role

Item = TypeVar("Item")

NAMES = ("orders", "stock")
ATTRIBUTES = ("BYPASSRLS", "CREATEDB")
PARAMETERS = (
    RoleParameter("work_mem"),
    RoleParameter("search_path"),
    RoleParameter("work_mem", "orders"),
)
GROUPS = ("readers", "writers", "staff")
SCHEMAS = ("app", "log")
TABLES = ("a", "b")
SEQUENCES = ("ids",)
CREATORS = ("owner", "writer")
FUTURE_KINDS: tuple[ObjectKind, ...] = ("table", "sequence", "function", "type")
FUNCTIONS = ("f(integer)",)
TYPES = ("mood",)
COLUMNS = (("a", "x"), ("b", "x"))
TABLE_WORDS = ("SELECT", "DELETE", "MAINTAIN")

# The suite's time is spent here: enough to find a broken rule in seconds.
laws = settings(derandomize=True, database=None)

DEFAULT_SERVER = server()
servers = st.builds(
    server, version=st.sampled_from((140023, 160011, 180004)), superuser=st.booleans()
)


def subsets(*items: Item) -> st.SearchStrategy[list[Item]]:
    """Draw any of the items, by one number: far faster than one draw an item."""

    def chosen(mask: int) -> list[Item]:
        return [item for bit, item in enumerate(items) if mask >> bit & 1]

    return st.integers(0, 2 ** len(items) - 1).map(chosen)


def grants_of_world(*extra_words: str, wild: bool = False) -> list[Grant]:
    """Return every privilege on every object; `wild` adds those on all of a kind."""
    more = ("*",) if wild else ()
    return sorted(
        option
        for name in NAMES
        for grants in (
            on_database(name, "CONNECT", "CREATE", *extra_words),
            *(
                grants
                for schema in SCHEMAS
                for grants in grants_of_schema(name, schema, *extra_words, more=more)
            ),
        )
        for grant in grants
        for option in with_options(grant)
    )


def with_options(grant: Grant) -> list[Grant]:
    """Return a grant, and the right to pass it on for some."""
    passed_on = {"SELECT", "EXECUTE", "CONNECT", "ALL"}
    options = [grant._replace(grantable=True)] if grant.privilege in passed_on else []
    return [grant, *options]


def possible(grants: list[Grant]) -> Grants:
    """Add the privileges that options are for."""
    return frozenset(grants) | {grant._replace(grantable=False) for grant in grants}


def grants_of_schema(
    name: str, schema: str, *extra_words: str, more: tuple[str, ...]
) -> Iterator[Grants]:
    place = {"database": name, "schema": schema}
    yield on_schema(schema, "USAGE", "CREATE", *extra_words, database=name)
    for table in (*TABLES, *more):
        yield on_table(table, *TABLE_WORDS, *extra_words, **place)
    for table, column in COLUMNS:
        yield on_column(table, column, "SELECT", *extra_words, **place)
    for creator in CREATORS:
        for kind in FUTURE_KINDS:
            yield on_future(kind, creator, "SELECT", **place)
    for signature in (*FUNCTIONS, *more):
        yield on_function(signature, "EXECUTE", *extra_words, **place)
    for type_ in (*TYPES, *more):
        yield on_type(type_, "USAGE", *extra_words, **place)
    for sequence in (*SEQUENCES, *more):
        yield on_sequence(sequence, "USAGE", *extra_words, **place)


def spelled(*extra_words: str) -> list[Grant]:
    """Return what permissions can say: nothing about creators."""
    return [
        grant
        for grant in grants_of_world(*extra_words, wild=True)
        if not grant.on.creator
    ]


held_grants = subsets(*grants_of_world()).map(possible)
scopes = subsets(*grants_of_world(wild=True)).map(possible)


Words = dict[str, list[str]]


def spell(
    drawn: tuple[list[Grant], list[tuple[str, str, str]]],
) -> tuple[Permission, ...]:
    """Write grants as `permissions`, with tables that wildcards leave out."""
    grants, left_out = drawn
    words: defaultdict[Securable, Words]
    words = defaultdict(lambda: {"privileges": [], "grantable": []})
    for grant in sorted(possible(grants)):
        kind = "grantable" if grant.grantable else "privileges"
        words[grant.on][kind].append(grant.privilege)
    return tuple(
        permission(
            name,
            **words[Securable("database", name)],
            schemas=[
                {
                    "name": schema,
                    **words[Securable("schema", name, schema)],
                    "exceptTables": [
                        table for *at, table in left_out if at == [name, schema]
                    ],
                    **spell_objects(Securable("schema", name, schema), words),
                }
                for schema in SCHEMAS
            ],
        )
        for name in NAMES
    )


def spell_objects(
    schema: Securable, words: Mapping[Securable, Words]
) -> dict[str, list[dict[str, object]]]:
    """Write what is granted on objects of a schema."""

    def entries(kind: ObjectKind) -> list[dict[str, object]]:
        return [
            {"name": on.name, **words[on]}
            for on in words
            if on._replace(name="") == schema._replace(kind=kind)
        ]

    tables = {str(entry["name"]): entry for entry in entries("table")}
    for on in words:
        if on._replace(name="", column="") == schema._replace(kind="column"):
            table = tables.setdefault(on.name, {"name": on.name})
            columns = table.setdefault("columns", [])
            assert isinstance(columns, list)
            columns.append({"name": on.column, **words[on]})
    return {
        "tables": list(tables.values()),
        "sequences": entries("sequence"),
        "functions": entries("function"),
        "types": entries("type"),
    }


permissions = st.tuples(
    subsets(*spelled("ALL")), subsets(*product(NAMES, SCHEMAS, TABLES))
).map(spell)


@dataclass(frozen=True)
class Case:
    """A DatabaseRole, a server, and what the two make of each other."""

    server: Server
    spec: DatabaseRoleSpec
    permissions: tuple[Permission, ...]
    properties: DesiredProperties  # as far as they are allowed
    left_alone: frozenset[str]  # roles that it cannot join or leave now
    held: str | None  # a database that cannot be worked on now
    password: Password | None
    catalogs: Mapping[str, Catalog]
    creators: Mapping[str, list[str]]
    observed: RoleState

    def desired(self, observed: RoleState) -> RoleState:
        """Return what the reconciler would want of the role as observed."""
        version = self.server.version_number
        ready = [each for each in self.permissions if each.database != self.held]
        grants: Grants = frozenset().union(
            *(
                desired_grants(
                    each,
                    catalog=self.catalogs[each.database],
                    server_version=version,
                    creators=self.creators,
                )[0]
                for each in ready
            )
        )
        scope = declared_scope(ready, server_version=version, creators=self.creators)
        if self.held is not None:
            scope |= hold(recorded_scope(observed), database=self.held)
        groups = [one for one in self.spec.member_of if one.role not in self.left_alone]
        memberships = desired_memberships(
            groups,
            server_version=version,
            inherit=self.spec.inherit is not False,
        )
        kept = recorded_memberships(observed) & self.left_alone
        return desired_role(
            self.spec,
            claimant=ROLE,
            observed=observed,
            server=self.server,
            password=self.password,
            grants=grants,
            scope=scope,
            entitlements=Entitlements(
                replace(memberships, scope=memberships.scope | kept), self.properties
            ),
        )

    @property
    def scope(self) -> Grants:
        """What is to be recorded in the end."""
        return recorded_scope(self.desired(self.observed))

    def plan(self, observed: RoleState) -> Plan:
        """Return what one reconcile would write."""
        return diff(self.desired(observed), observed)

    def reconcile(self, observed: RoleState) -> RoleState:
        """Return the role after one reconcile."""
        return simulate_role(observed, self.plan(observed).operations)


def recorded_scope(state: RoleState) -> Grants:
    return state.mark.scope if isinstance(state.mark, Mark) else frozenset()


def recorded_memberships(state: RoleState) -> frozenset[str]:
    return state.mark.memberships if isinstance(state.mark, Mark) else frozenset()


def catalogs_with(existing: list[Securable]) -> Mapping[str, Catalog]:
    """Return the catalogs of all databases, with some schemas and objects in them."""
    return {
        name: Catalog(
            name,
            frozenset(
                on.schema
                for on in existing
                if (on.database, on.kind) == (name, "schema")
            ),
            frozenset(
                on
                for on in existing
                if on.database == name and on.name and not on.creator
            ),
        )
        for name in NAMES
    }


catalogs = subsets(*sorted({grant.on for grant in grants_of_world()})).map(
    catalogs_with
)


parameters_of_roles = subsets(*PARAMETERS).flatmap(
    lambda some: st.fixed_dictionaries(dict.fromkeys(some, st.sampled_from("ab")))
)


def rows_of_memberships(on: Server) -> st.SearchStrategy[frozenset[Membership]]:
    """Draw rows of pg_auth_members: one for each grantor, since 16."""
    if on.version_number < MEMBERSHIP_OPTIONS:
        rows = st.builds(Membership, st.sampled_from(GROUPS), st.booleans())
        unique = st.lists(rows, max_size=3, unique_by=lambda row: row.role)
        return unique.map(frozenset)
    by_us = st.builds(
        Membership,
        st.sampled_from(GROUPS),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.just(LOGIN),
    )
    rows = by_us | by_us.map(lambda row: replace(row, grantor="dba", own=False))
    return st.lists(
        rows, max_size=4, unique_by=lambda row: (row.role, row.grantor)
    ).map(frozenset)


@st.composite
def observed_roles(draw: st.DrawFn, on: Server = DEFAULT_SERVER) -> RoleState:
    if draw(st.booleans()):
        return RoleState("app", exists=False, mark=None)
    mark = Mark(
        ROLE,
        state=draw(st.sampled_from(("managed", "released"))),
        scope=draw(scopes),
        memberships=frozenset(draw(subsets(*GROUPS))),
        attributes=frozenset(draw(subsets(*ATTRIBUTES))),
        role_parameters=frozenset(draw(subsets(*PARAMETERS))),
        password=draw(st.sampled_from((None, "old", "new"))),
        verifier=draw(st.sampled_from((None, "stored"))),
        foreign_comment=draw(st.sampled_from((None, "theirs"))),
    )
    return RoleState(
        "app",
        oid=1,
        login=draw(st.booleans()),
        superuser=False,
        connection_limit=draw(st.integers(-1, 3)),
        verifier=draw(st.sampled_from((UNSET, None, "stored", "theirs"))),
        self_member=draw(st.booleans()),
        inherit=draw(st.booleans()),
        valid_until=draw(st.sampled_from(("infinity", "2027-01-31T22:00:00Z"))),
        attributes=frozenset(draw(subsets(*ATTRIBUTES))),
        parameters=draw(parameters_of_roles),
        memberships=draw(rows_of_memberships(on)),
        grants=draw(held_grants),
        mark=mark,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    fields: dict[str, object] = {}
    if draw(st.booleans()):
        fields["password"] = {"name": "app-password"}
    if draw(st.booleans()):
        fields["login"] = draw(st.booleans())
    if draw(st.booleans()):
        fields["connectionLimit"] = draw(st.integers(-1, 3))
    fields["memberOf"] = [
        {
            "role": group,
            **{
                option: draw(st.booleans())
                for option in draw(subsets("inherit", "set", "admin"))
            },
        }
        for group in draw(subsets(*GROUPS))
    ]
    for name, strategy in (
        ("inherit", st.booleans()),
        ("validUntil", st.sampled_from(("infinity", "2027-01-31T23:00:00+01:00"))),
    ):
        if draw(st.booleans()):
            fields[name] = draw(strategy)
    settings = draw(parameters_of_roles)
    password = Password("new") if "password" in fields else None
    on = draw(servers)
    return Case(
        server=on,
        spec=role_spec(**fields),
        permissions=draw(permissions),
        properties=DesiredProperties(
            frozenset(draw(subsets(*ATTRIBUTES))),
            settings,
            frozenset({*settings, *draw(subsets(*PARAMETERS))}),
        ),
        left_alone=frozenset(draw(subsets(*GROUPS))),
        held=draw(st.sampled_from((None, *NAMES))),
        password=password,
        catalogs=draw(catalogs),
        creators={schema: draw(subsets(*CREATORS)) for schema in SCHEMAS},
        observed=draw(observed_roles(on)),
    )


@laws
@given(cases())
def test_role_needs_nothing_after_its_plan(case: Case) -> None:
    after = case.reconcile(case.observed)
    assert case.plan(after) == Plan()


@laws
@given(cases())
def test_role_ends_the_same_after_a_crash_between_any_two_batches(case: Case) -> None:
    batches = case.plan(case.observed).batches()
    whole = case.reconcile(case.observed)
    state = case.observed
    for batch in batches:
        state = simulate_role(state, batch.operations)
        assert case.reconcile(state) == whole


@laws
@given(cases())
def test_every_grant_we_hold_is_in_the_recorded_scope_at_any_moment(
    case: Case,
) -> None:
    state, foreign = case.observed, case.observed.grants
    for batch in case.plan(case.observed).batches():
        state = simulate_role(state, batch.operations)
        ours = state.grants - foreign
        assert covered(ours, recorded_scope(state)) == ours


@laws
@given(cases())
def test_only_what_the_recorded_scope_has_is_revoked(case: Case) -> None:
    for operation in case.plan(case.observed).operations:
        if isinstance(operation, RevokePrivileges):
            words = operation.grants() & case.observed.grants
            assert words
            # What a new wildcard leaves out is not to be there, whoever granted it.
            scope = recorded_scope(case.observed) | case.scope
            assert {
                grant
                for grant in words - covered(words, scope)
                if grant._replace(grantable=False) not in words
            } == set()


@laws
@given(cases())
def test_role_holds_what_is_desired_and_keeps_what_is_foreign(case: Case) -> None:
    after = case.reconcile(case.observed)
    desired = case.desired(case.observed)
    held = case.observed.grants
    foreign = held - covered(held, recorded_scope(case.observed) | case.scope)
    kept = declared(held, case.scope)
    expected = desired.grants | foreign | kept
    # An option does not outlive its privilege.
    assert after.grants == {
        grant for grant in expected if grant._replace(grantable=False) in expected
    }


@laws
@given(cases())
def test_exact_role_holds_what_is_desired_and_nothing_that_is_foreign(
    case: Case,
) -> None:
    def plan(observed: RoleState) -> Plan:
        desired = case.desired(observed)
        return diff(desired, claim_everything(observed, recorded_scope(desired)))

    before = case.observed
    after = simulate_role(before, plan(before).operations)
    # What is only recorded of a database that is held stays there.
    expected = case.desired(before).grants | declared(before.grants, case.scope)
    assert after.grants == {
        grant for grant in expected if grant._replace(grantable=False) in expected
    }
    assert recorded_scope(after) == case.scope
    assert plan(after) == Plan()


@laws
@given(cases())
def test_held_database_is_left_alone(case: Case) -> None:
    for operation in case.plan(case.observed).operations:
        if isinstance(operation, GrantPrivileges | RevokePrivileges):
            assert operation.database != case.held


@laws
@given(cases())
def test_role_is_a_member_of_what_is_desired_and_of_what_is_foreign(
    case: Case,
) -> None:
    before, after = case.observed, case.reconcile(case.observed)
    recorded = recorded_memberships(before)
    desired = case.desired(before)
    kept = recorded_memberships(desired)
    for row in before.memberships - after.memberships:
        changed = row.own and row.role in {one.role for one in desired.memberships}
        assert changed or row.role in recorded - kept
    for one in desired.memberships:
        rows = [row for row in after.memberships if row.role == one.role]
        assert one.options in {row.options for row in rows}
        assert all(row.options == one.options for row in rows if row.own)
    assert not {row.role for row in after.memberships} & (recorded - kept)


@laws
@given(cases())
def test_role_has_the_properties_that_are_desired_and_those_that_are_foreign(
    case: Case,
) -> None:
    before, after = case.observed, case.reconcile(case.observed)
    mark = before.mark if isinstance(before.mark, Mark) else Mark(ROLE)
    wanted = case.properties
    left = mark.attributes - wanted.attributes
    assert after.attributes == (before.attributes - left) | wanted.attributes
    for parameter in PARAMETERS:
        if parameter in wanted.parameters:
            expected = wanted.parameters[parameter]
        elif parameter in mark.role_parameters - wanted.parameter_scope:
            expected = None
        else:
            expected = before.parameters.get(parameter)
        assert after.parameters.get(parameter) == expected


@laws
@given(cases())
def test_what_a_role_does_not_declare_stays(case: Case) -> None:
    after, before = case.reconcile(case.observed), case.observed
    if before.exists and case.spec.connection_limit is None:
        assert after.connection_limit == before.connection_limit
    if before.exists and case.spec.login is None and case.password is None:
        assert after.login == before.login
    if before.exists and case.spec.inherit is None:
        assert after.inherit == before.inherit
    if before.exists and case.spec.valid_until is None:
        assert after.valid_until == before.valid_until
    if case.password is None:
        assert not any(
            isinstance(operation, AlterRole) and operation.password
            for operation in case.plan(before).operations
        )


@laws
@given(cases())
def test_plan_does_not_depend_on_the_order_of_sets(case: Case) -> None:
    backwards = replace(
        case,
        permissions=case.permissions[::-1],
        observed=replace(
            case.observed,
            grants=frozenset(sorted(case.observed.grants, reverse=True)),
        ),
    )
    assert backwards.plan(backwards.observed) == case.plan(case.observed)


@laws
@given(observed_roles(), st.sampled_from(("Retain", "Disable")), held_grants)
def test_retained_and_disabled_roles_keep_what_they_have(
    observed: RoleState, policy: str, granted: Grants
) -> None:
    plan = deletion_role(
        replace(observed, grants=granted),
        policy="Retain" if policy == "Retain" else "Disable",
        dependencies=Dependencies(
            frozenset(NAMES), frozenset(NAMES), frozenset({"zoo"})
        ),
        heir=RoleState("heir", exists=False),
        homes={},
    )
    kept: tuple[type, ...] = (MarkRole,)
    if policy == "Disable":
        kept += (AlterRole, GrantRoleToSelf, TerminateSessions)
    assert all(isinstance(operation, kept) for operation in plan.operations)


# Databases


@st.composite
def database_specs(draw: st.DrawFn) -> DatabaseSpec:
    owners = st.sampled_from(({}, {"owner": "app"}, {"owner": "stranger"}))
    fields: dict[str, object] = {
        "schemas": [
            {"name": name, **draw(owners)} for name in draw(subsets("public", *SCHEMAS))
        ],
        **draw(owners),
    }
    optional: dict[str, st.SearchStrategy[object]] = {
        "timezone": st.sampled_from(("UTC", "Europe/Berlin")),
        "connectionLimit": st.integers(-1, 3),
        "encoding": st.sampled_from(("UTF8", "LATIN1")),
        "publicPrivileges": st.sampled_from(("Revoke", "Keep")),
        "parameters": st.sampled_from(({"work_mem": "8MB"}, {"jit": "off"})),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            fields[name] = draw(strategy)
    return database_spec(**fields)


some_owners = st.sampled_from((LOGIN, "app", "stranger"))


@st.composite
def observed_databases(draw: st.DrawFn) -> DatabaseState:
    if draw(st.booleans()):
        return DatabaseState("orders", exists=False, mark=None)
    managed = draw(st.booleans())
    mark = Mark(
        DATABASE,
        state="managed" if managed else "released",
        parameters=frozenset(draw(subsets("work_mem", "jit"))),
    )
    unfinished = draw(st.booleans())
    public = {"CONNECT", "TEMPORARY"}
    inside = frozenset({"public"} if unfinished else draw(subsets("public", *SCHEMAS)))
    return DatabaseState(
        "orders",
        oid=1,
        owner=LOGIN if unfinished else draw(some_owners),
        encoding="UTF8",
        allow_connections=not unfinished and draw(st.booleans()),
        connection_limit=sentinel(DATABASE) if unfinished else draw(st.integers(-1, 3)),
        public_privileges=frozenset(public if unfinished else draw(subsets(*public))),
        settings=draw(st.sampled_from(({}, {"timezone": "UTC", "work_mem": "8MB"}))),
        schemas=inside,
        schema_owners={name: draw(some_owners) for name in sorted(inside)},
        public_schema_open=unfinished or draw(st.booleans()),
        mark=None if unfinished else mark,
        comment=draw(st.sampled_from((None, "theirs"))) if unfinished else None,
    )


def plan_database(spec: DatabaseSpec, observed: DatabaseState, on: Server) -> Plan:
    desired = desired_database(
        spec,
        claimant=DATABASE,
        observed=observed,
        server=on,
        roles={"app"},
        parameters=spec.parameters,
    )
    return diff(desired, observed)


def reconcile_database(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> DatabaseState:
    plan = plan_database(spec, observed, on)
    return simulate_database(observed, plan.operations, server=on)


@laws
@given(database_specs(), observed_databases(), servers)
def test_database_needs_nothing_after_its_plan(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> None:
    after = reconcile_database(spec, observed, on)
    assert plan_database(spec, after, on) == Plan()


@laws
@given(database_specs(), observed_databases(), servers)
def test_database_ends_the_same_after_a_crash_between_any_two_batches(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> None:
    whole = reconcile_database(spec, observed, on)
    state = observed
    for batch in plan_database(spec, observed, on).batches():
        state = simulate_database(state, batch.operations, server=on)
        assert reconcile_database(spec, state, on) == whole


@laws
@given(database_specs(), observed_databases(), servers)
def test_database_is_never_open_without_its_mark(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> None:
    state = observed
    for batch in plan_database(spec, observed, on).batches():
        state = simulate_database(state, batch.operations, server=on)
        assert not state.allow_connections or isinstance(state.mark, Mark)


@laws
@given(database_specs(), observed_databases(), servers)
def test_what_a_database_does_not_declare_stays(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> None:
    after = reconcile_database(spec, observed, on)
    declared = {"timezone"} if spec.timezone else set()
    declared |= spec.parameters.keys()
    if isinstance(observed.mark, Mark):
        declared |= observed.mark.parameters
    for parameter in observed.settings.keys() - declared:
        assert after.settings[parameter] == observed.settings[parameter]
    assert after.schemas >= observed.schemas
    declared_owners = {schema.name for schema in spec.schemas if schema.owner == "app"}
    for schema in observed.schemas - declared_owners:
        if observed.mark is not None:
            assert after.schema_owners[schema] == observed.schema_owners[schema]
    finished = observed.exists and observed.mark is not None
    if finished and spec.owner != "app":
        assert after.owner == observed.owner
    if finished:
        assert after.allow_connections == observed.allow_connections
        assert after.encoding == observed.encoding
    if finished and spec.connection_limit is None:
        assert after.connection_limit == observed.connection_limit
    if finished and spec.public_privileges == "Keep":
        assert after.public_privileges == observed.public_privileges


@laws
@given(database_specs(), observed_databases(), servers)
def test_existing_database_is_never_created_again(
    spec: DatabaseSpec, observed: DatabaseState, on: Server
) -> None:
    creations = [
        operation
        for operation in plan_database(spec, observed, on).operations
        if isinstance(operation, CreateDatabase)
    ]
    assert len(creations) == (0 if observed.exists else 1)


@laws
@given(observed_databases())
def test_retained_database_is_never_closed_or_dropped(observed: DatabaseState) -> None:
    plan = deletion_database(
        observed, policy="Retain", mark=desired_mark(DATABASE, observed)
    )
    assert all(isinstance(operation, MarkDatabase) for operation in plan.operations)
