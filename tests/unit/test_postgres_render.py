"""Every operation is one statement of its kind, whatever its names are."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pglast
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast.enums import DropBehavior, RoleSpecType

from pg_operator.api.privileges import PRIVILEGES, ObjectKind
from pg_operator.api.secret import SecretText
from pg_operator.api.validation.attributes import ATTRIBUTES
from pg_operator.plan import operations as op
from pg_operator.plan.grants import Securable
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import (
    Claimant,
    Locale,
    Mark,
    Membership,
    Password,
    RoleParameter,
    Server,
)
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.render import render
from tests.unit.plan_examples import securables

KEYRING = Keyring.from_secret({"current": b"k", "k": b"k" * 32})
MARK = Mark(Claimant("owner", "Database", "team", "uid", "name"))
HOSTILE = (
    'a"; DROP ROLE x; --',
    "it's",
    "back\\slash",
    "%s",
    "{}",
    "select",
    "PUBLIC",
    "new\nline",
    "emoji 🐘",
    "$$",
)
names = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    min_size=1,
    max_size=15,
).filter(lambda name: name not in {"public", "none"})


def server(version_number: int) -> Server:
    return Server(
        version_number=version_number,
        version="",
        system_identifier="1",
        started_at="",
        in_recovery=False,
        login="admin",
        superuser=False,
        create_database=True,
        create_role=True,
        signal_backend=False,
    )


def sql_of(operation: op.Operation, *, version_number: int = 180000) -> str:
    statement = render(
        operation,
        server=server(version_number),
        keyring=KEYRING,
        verifier=lambda _password, _role: "SCRAM-SHA-256$it's",
    )
    return statement.as_string(None)


def parse(statement: str) -> Any:
    """Return the tree of the one statement in a text."""
    (raw,) = pglast.parse_sql(statement)
    return raw.stmt


def words(kind: ObjectKind) -> st.SearchStrategy[tuple[str, ...]]:
    known = [privilege.word for privilege in PRIVILEGES[kind]]
    return st.lists(st.sampled_from(known), min_size=1, unique=True).map(tuple)


signatures = st.lists(
    st.sampled_from(
        (
            "f()",
            "f(integer,text[])",
            '"F; DROP"(app."My Type"[],double precision)',
            'f("char",timestamp without time zone,app.mood)',
            '"say ""no"""(character varying)',
        )
    ),
    min_size=1,
    unique=True,
)


@st.composite
def privileges(
    draw: st.DrawFn, make: type[GrantPrivileges] | type[RevokePrivileges]
) -> GrantPrivileges | RevokePrivileges:
    kind = draw(st.sampled_from(list(PRIVILEGES)))
    most = 1 if kind == "database" else 5
    objects = draw(st.lists(names, min_size=1, max_size=most))
    schema, table = draw(names), draw(names)
    on = securables(kind, "db", objects, schema)
    if kind == "function":
        on = securables(kind, "db", draw(signatures), schema)
    if kind == "column":
        on = tuple(Securable(kind, "db", schema, table, name) for name in objects)
    return make(draw(names), on, draw(words(kind)), draw(st.booleans()))


booleans = st.none() | st.booleans()
limits = st.none() | st.integers(-1, 2**31 - 1)
passwords = st.none() | st.just(Password("fingerprint"))
some_marks = st.none() | st.just(MARK)
comments = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15
)

OPERATIONS: Final[
    Mapping[type[op.Operation], tuple[str, st.SearchStrategy[op.Operation]]]
] = {
    op.CreateDatabase: (
        "CreatedbStmt",
        st.builds(
            op.CreateDatabase,
            names,
            st.none() | names,
            st.integers(1, 2**31 - 1),
            template=names,
            locale=st.builds(
                Locale,
                st.sampled_from((None, "libc", "icu", "builtin")),
                st.none() | names,
            ),
            tablespace=st.none() | names,
        ),
    ),
    op.AlterDatabase: (
        "AlterDatabaseStmt",
        st.builds(op.AlterDatabase, names, booleans, limits),
    ),
    op.AlterDatabaseOwner: (
        "AlterOwnerStmt",
        st.builds(op.AlterDatabaseOwner, names, names),
    ),
    op.AlterSchemaOwner: (
        "AlterOwnerStmt",
        st.builds(op.AlterSchemaOwner, names, names, names),
    ),
    op.SetDatabaseParameter: (
        "AlterDatabaseSetStmt",
        st.builds(
            op.SetDatabaseParameter,
            names,
            st.sampled_from(("TimeZone", "my.setting", 'x"; y')),
            names,
        ),
    ),
    op.CreateExtension: (
        "CreateExtensionStmt",
        st.builds(op.CreateExtension, names, names, names, st.none() | names),
    ),
    op.AlterExtensionVersion: (
        "AlterExtensionStmt",
        st.builds(op.AlterExtensionVersion, names, names, names),
    ),
    op.AlterExtensionSchema: (
        "AlterObjectSchemaStmt",
        st.builds(op.AlterExtensionSchema, names, names, names),
    ),
    op.ResetDatabaseParameter: (
        "AlterDatabaseSetStmt",
        st.builds(op.ResetDatabaseParameter, names, st.sampled_from(("a", "my.a"))),
    ),
    op.MarkDatabase: (
        "CommentStmt",
        st.builds(op.MarkDatabase, names, some_marks, comments),
    ),
    op.RevokePublicOnDatabase: (
        "GrantStmt",
        st.builds(op.RevokePublicOnDatabase, names, words("database")),
    ),
    op.DropDatabase: ("DropdbStmt", st.builds(op.DropDatabase, names)),
    op.CreateSchema: ("CreateSchemaStmt", st.builds(op.CreateSchema, names, names)),
    op.RevokePublicOnSchema: (
        "GrantStmt",
        st.builds(op.RevokePublicOnSchema, names, names),
    ),
    op.CreateRole: (
        "CreateRoleStmt",
        st.builds(
            op.CreateRole,
            names,
            st.booleans(),
            limits,
            passwords,
            booleans,
            st.none() | names,
        ),
    ),
    op.AlterRole: (
        "AlterRoleStmt",
        st.builds(
            op.AlterRole,
            names,
            booleans,
            limits,
            passwords,
            booleans,
            st.none() | names,
        ),
    ),
    op.GrantRoleToSelf: ("GrantRoleStmt", st.builds(op.GrantRoleToSelf, names)),
    op.SetRoleAttribute: (
        "AlterRoleStmt",
        st.builds(
            op.SetRoleAttribute, names, st.sampled_from(ATTRIBUTES), st.booleans()
        ),
    ),
    op.SetRoleParameter: (
        "AlterRoleSetStmt",
        st.builds(
            op.SetRoleParameter,
            names,
            st.builds(
                RoleParameter,
                st.sampled_from(("work_mem", "search_path", 'x"; y')),
                st.just("") | names,
            ),
            st.none() | names,
        ),
    ),
    op.GrantMembership: (
        "GrantRoleStmt",
        st.builds(op.GrantMembership, names, st.builds(Membership, names)),
    ),
    op.RevokeMembership: (
        "GrantRoleStmt",
        st.builds(op.RevokeMembership, names, names, names, st.booleans()),
    ),
    op.MarkRole: ("CommentStmt", st.builds(op.MarkRole, names, some_marks, comments)),
    GrantPrivileges: ("GrantStmt", privileges(GrantPrivileges)),
    RevokePrivileges: ("GrantStmt", privileges(RevokePrivileges)),
    op.TerminateSessions: ("SelectStmt", st.builds(op.TerminateSessions, names)),
    op.ReassignOwned: (
        "ReassignOwnedStmt",
        st.builds(op.ReassignOwned, names, names, names),
    ),
    op.DropOwned: ("DropOwnedStmt", st.builds(op.DropOwned, names, names)),
    op.DropRole: ("DropRoleStmt", st.builds(op.DropRole, names)),
}


def test_every_operation_is_listed_here() -> None:
    assert set(OPERATIONS) == set(op.Operation.__args__)


@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: str(kind.__name__))
@given(data=st.data())
def test_operation_is_one_statement_of_its_kind(
    kind: type[op.Operation], data: st.DataObject
) -> None:
    node, strategy = OPERATIONS[kind]
    operation = data.draw(strategy)
    if operation in {
        op.AlterDatabase(getattr(operation, "name", "")),
        op.AlterRole(getattr(operation, "name", "")),
    }:
        return
    assert type(parse(sql_of(operation))).__name__ == node


@given(name=names, role=names, schema=names)
def test_names_arrive_as_they_were_written(name: str, role: str, schema: str) -> None:
    grant = GrantPrivileges(
        role, securables("table", "db", (name,), schema), ("SELECT",)
    )
    tree = parse(sql_of(grant))
    (table,) = tree.objects
    (grantee,) = tree.grantees
    assert (table.schemaname, table.relname) == (schema, name)
    assert grantee.roletype is RoleSpecType.ROLESPEC_CSTRING
    assert grantee.rolename == role


@given(table=names, columns=st.lists(names, min_size=1, max_size=3))
def test_columns_arrive_with_each_word(table: str, columns: list[str]) -> None:
    on = tuple(Securable("column", "db", "app", table, name) for name in columns)
    tree = parse(sql_of(GrantPrivileges("app", on, ("SELECT", "UPDATE"))))
    assert [one.relname for one in tree.objects] == [table]
    written = [
        (word.priv_name, [column.sval for column in word.cols])
        for word in tree.privileges
    ]
    assert written == [("select", columns), ("update", columns)]


@given(schema=names, creators=st.lists(names, min_size=1, max_size=3))
def test_creators_of_future_objects_are_named(schema: str, creators: list[str]) -> None:
    on = tuple(Securable("table", "db", schema, "*", creator=name) for name in creators)
    tree = parse(sql_of(GrantPrivileges("app", on, ("SELECT",))))
    roles, schemas = (option.arg for option in tree.options)
    assert [role.rolename for role in roles] == creators
    assert [name.sval for name in schemas] == [schema]
    assert tree.action.is_grant


@pytest.mark.parametrize(
    "signature",
    [
        "f",
        "f(integer), app.g()",
        "f() TO x; --",
        "F(integer)",
        'f("a)',
        "f(integer) FROM x",
        "a.f()",
        "f(integer;)",
        "f(\0)",
        "",
    ],
)
def test_signature_that_the_server_did_not_write_is_refused(signature: str) -> None:
    on = securables("function", "db", (signature,), "app")
    with pytest.raises(Rejected):
        sql_of(GrantPrivileges("app", on, ("EXECUTE",)))


def test_grant_option_is_granted_and_revoked() -> None:
    on = securables("table", "db", ("orders",), "app")
    granted = parse(sql_of(GrantPrivileges("app", on, ("SELECT",), grantable=True)))
    assert (granted.is_grant, granted.grant_option) == (True, True)
    revoked = parse(sql_of(RevokePrivileges("app", on, ("SELECT",), grantable=True)))
    assert (revoked.is_grant, revoked.grant_option) == (False, True)


def test_revoke_takes_along_what_was_passed_on() -> None:
    on = securables("sequence", "db", ("ids",), "app")
    tree = parse(sql_of(RevokePrivileges("app", on, ("USAGE",))))
    assert tree.behavior == DropBehavior.DROP_CASCADE


@pytest.mark.parametrize("name", ["public", "none"])
@pytest.mark.parametrize(
    "make",
    [
        lambda role: GrantPrivileges(
            role, securables("schema", "db", ("app",)), ("USAGE",)
        ),
        lambda role: RevokePrivileges(
            role, securables("schema", "db", ("app",)), ("USAGE",)
        ),
        lambda role: op.CreateRole(
            role, login=True, connection_limit=None, password=None
        ),
        lambda role: op.AlterRole(role, login=True),
        lambda role: op.MarkRole(role, MARK),
        op.GrantRoleToSelf,
        lambda role: op.GrantMembership(role, Membership("readers")),
        lambda role: op.GrantMembership("app", Membership(role)),
        lambda role: op.RevokeMembership(role, "readers", "admin"),
        op.DropRole,
        lambda role: op.DropOwned("db", role),
        lambda role: op.ReassignOwned("db", role, "admin"),
        lambda role: op.ReassignOwned("db", "app", role),
        lambda role: op.AlterDatabaseOwner("db", role),
        lambda role: op.AlterSchemaOwner("db", "app", role),
    ],
)
def test_role_that_postgresql_takes_for_everybody_is_refused(
    make: Callable[[str], op.Operation], name: str
) -> None:
    """Quoting does not help: its grammar makes them keywords all the same."""
    with pytest.raises(Rejected):
        sql_of(make(name))


def test_membership_options_are_written_from_16_on_only() -> None:
    operation = op.GrantRoleToSelf("app")
    assert sql_of(operation, version_number=150000).endswith("TO CURRENT_USER")
    assert "INHERIT TRUE, SET TRUE" in sql_of(operation, version_number=160000)


def test_options_and_grantor_of_a_membership_are_written_from_16_on_only() -> None:
    member = op.GrantMembership(
        "app", Membership("readers", admin=True, inherit=False, set=True)
    )
    assert sql_of(member).endswith(" WITH ADMIN true, INHERIT false, SET true")
    plain = op.GrantMembership("app", Membership("readers", admin=True))
    assert sql_of(plain, version_number=150000).endswith(" WITH ADMIN OPTION")
    leave = op.RevokeMembership("app", "readers", "admin")
    assert ' GRANTED BY "admin" ' in sql_of(leave)
    assert "GRANTED" not in sql_of(leave, version_number=150000)


@pytest.mark.parametrize("bad", ["", "nul\0", "\ud800", "x" * 64, "é" * 32])
@pytest.mark.parametrize("kind", OPERATIONS, ids=lambda kind: str(kind.__name__))
def test_name_that_would_become_another_is_refused(
    kind: type[op.Operation], bad: str
) -> None:
    operation = _with_name(kind, bad)
    with pytest.raises(Rejected):
        sql_of(operation)


def test_value_that_is_a_list_is_written_as_one() -> None:
    paths = op.SetDatabaseParameter("db", "search_path", '"$user", App, "a,b"')
    assert sql_of(paths).endswith("TO '$user', 'app', 'a,b'")
    styles = op.SetDatabaseParameter("db", "datestyle", "ISO, DMY")
    assert sql_of(styles).endswith("TO 'ISO, DMY'")


def test_word_that_is_no_privilege_is_refused() -> None:
    operation = GrantPrivileges(
        "app", securables("table", "db", ("orders",), "app"), ("SELECT TO x; --",)
    )
    with pytest.raises(Rejected):
        sql_of(operation)


def test_word_of_another_kind_of_object_is_refused() -> None:
    operation = GrantPrivileges(
        "app", securables("schema", "db", ("app",)), ("SELECT",)
    )
    with pytest.raises(Rejected):
        sql_of(operation)


def _with_name(kind: type[op.Operation], name: str) -> op.Operation:
    """Make an operation of a kind whose name (its role or object) is `name`."""
    examples: Mapping[type[op.Operation], op.Operation] = {
        op.CreateDatabase: op.CreateDatabase(name, None, 1),
        op.AlterDatabase: op.AlterDatabase(name, allow_connections=True),
        op.AlterDatabaseOwner: op.AlterDatabaseOwner("db", name),
        op.AlterSchemaOwner: op.AlterSchemaOwner("db", name, "app"),
        op.SetDatabaseParameter: op.SetDatabaseParameter(name, "TimeZone", "UTC"),
        op.CreateExtension: op.CreateExtension("db", "pg_trgm", name, None),
        op.AlterExtensionVersion: op.AlterExtensionVersion("db", name, "1.6"),
        op.AlterExtensionSchema: op.AlterExtensionSchema("db", name, "app"),
        op.ResetDatabaseParameter: op.ResetDatabaseParameter(name, "TimeZone"),
        op.MarkDatabase: op.MarkDatabase(name, MARK),
        op.RevokePublicOnDatabase: op.RevokePublicOnDatabase(name, ("CONNECT",)),
        op.DropDatabase: op.DropDatabase(name),
        op.CreateSchema: op.CreateSchema("db", name),
        op.RevokePublicOnSchema: op.RevokePublicOnSchema("db", name),
        op.CreateRole: op.CreateRole(
            name, login=True, connection_limit=None, password=None
        ),
        op.AlterRole: op.AlterRole(name, login=True),
        op.GrantRoleToSelf: op.GrantRoleToSelf(name),
        op.SetRoleAttribute: op.SetRoleAttribute(name, "CREATEDB", on=True),
        op.SetRoleParameter: op.SetRoleParameter(name, RoleParameter("work_mem"), "1"),
        op.GrantMembership: op.GrantMembership("app", Membership(name)),
        op.RevokeMembership: op.RevokeMembership(name, "readers", "admin"),
        op.MarkRole: op.MarkRole(name, MARK),
        GrantPrivileges: GrantPrivileges(
            "app", securables("table", "db", ("orders", name), "app"), ("SELECT",)
        ),
        RevokePrivileges: RevokePrivileges(
            name, securables("schema", "db", ("app",)), ("USAGE",)
        ),
        op.TerminateSessions: op.TerminateSessions(name),
        op.ReassignOwned: op.ReassignOwned("db", "app", name),
        op.DropOwned: op.DropOwned("db", name),
        op.DropRole: op.DropRole(name),
    }
    return examples[kind]


def test_attribute_that_makes_a_superuser_is_never_written() -> None:
    for attribute in ("SUPERUSER", "CREATEDB SUPERUSER"):
        with pytest.raises(Rejected):
            sql_of(op.SetRoleAttribute("app", attribute, on=True))


def test_list_of_schemas_is_written_item_by_item() -> None:
    """As one text, PostgreSQL would take it for one name."""
    path = op.SetRoleParameter(
        "app", RoleParameter("search_path", "shop"), '"$user", App, "a,b"'
    )
    assert sql_of(path) == (
        'ALTER ROLE "app" IN DATABASE "shop" SET "search_path" TO'
        " '$user', 'app', 'a,b'"
    )


def test_statement_has_the_verifier_and_not_the_password() -> None:
    password = Password("fingerprint", SecretText("TOPSECRET"))
    statement = sql_of(op.AlterRole("app", password=password))
    assert "SCRAM-SHA-256$it''s" in statement
    assert "TOPSECRET" not in statement
