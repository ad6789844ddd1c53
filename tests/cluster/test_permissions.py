"""What a role may do is what its permissions say, on the server, at any time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
    login,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 60
ALL_ON_A_TABLE = {
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """A Database with schemas `app` and `other` and tables in them, and a role.

    The DatabaseCluster is called as the namespace.
    """

    cluster: LocalCluster
    kubectl: Kubectl
    namespace: str

    @property
    def dbname(self) -> str:
        """The database's PostgreSQL name."""
        return f"{self.namespace}_shop"

    @property
    def role(self) -> str:
        """The role's PostgreSQL name."""
        return f"{self.namespace}_r"

    @property
    def target(self) -> str:
        """The DatabaseRole, as kubectl takes it."""
        return f"databaserole/{self.namespace}-r"

    def sql(self, *statements: str) -> list[Any]:
        """Run statements in the database as the superuser."""
        return administer(self.cluster, self.dbname, *statements)

    def declare_database(self, **spec: Any) -> None:
        """Apply the Database and wait until it is Ready."""
        spec = {"schemas": [{"name": "app"}, {"name": "other"}], **spec}
        shop = f"{self.namespace}-shop"
        self.kubectl.apply(documents(database(shop, self.namespace, **spec)))
        self.kubectl.wait(f"database/{shop}", "condition=Ready")

    def declare_role(self, *permissions: Json, **spec: Any) -> None:
        """Apply the role and wait until the operator has said something about it."""
        name = f"{self.namespace}-r"
        role = database_role(
            name, self.namespace, permissions=list(permissions), **spec
        )
        self.kubectl.apply(documents(role))
        assert wait_until(self._is_told, timeout=PATIENCE)

    def permit(self, *schemas: Json, words: Sequence[str] = ("CONNECT",)) -> Json:
        """Return the permission in the database."""
        return {
            "database": self.dbname,
            "privileges": list(words),
            "schemas": list(schemas),
        }

    def ready(self) -> Mapping[str, str]:
        """Return the role's Ready condition."""
        return condition(self.kubectl.get(self.target))

    def pending(self) -> dict[str, str]:
        """Return what is pending, by its path, with the reason."""
        status = self.kubectl.get(self.target)["status"]
        return {one["path"]: one["reason"] for one in status["grants"]["pending"]}

    def database_words(self) -> set[str]:
        """Return what the role is granted on the database."""
        return self._words("pg_database", "datacl", f"datname = '{self.dbname}'")

    def schema_words(self, schema: str = "app") -> set[str]:
        """Return what the role is granted on a schema."""
        return self._words("pg_namespace", "nspacl", f"nspname = '{schema}'")

    def table_words(self, table: str = "app.orders") -> set[str]:
        """Return what the role is granted on a table."""
        return self._words("pg_class", "relacl", f"oid = '{table}'::regclass")

    def eventually_has(self, expected: set[str], table: str = "app.orders") -> None:
        """Wait until the role is granted exactly this on a table."""
        assert wait_until(
            lambda: self.table_words(table) == expected, timeout=PATIENCE
        ), (self.table_words(table), self.ready())

    def _words(self, catalog: str, acl: str, where: str) -> set[str]:
        rows = self.sql(
            f"SELECT privilege_type FROM pg_catalog.{catalog}, aclexplode({acl}) "
            f"JOIN pg_roles ON pg_roles.oid = grantee "
            f"WHERE {where.replace('oid', f'{catalog}.oid')} "
            f"AND rolname = '{self.role}'"
        )
        return {row[0] for row in rows}

    def _is_told(self) -> bool:
        role = self.kubectl.get(self.target)
        generation = role["metadata"]["generation"]
        return bool(condition(role).get("observedGeneration") == generation)


def condition(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an object's Ready condition, empty before there is one."""
    found: list[Json] = obj.get("status", {}).get("conditions", [])
    return next((one for one in found if one["type"] == "Ready"), {})


def on_schema(
    *tables: Json, name: str = "app", words: Sequence[str] = ("USAGE",)
) -> Json:
    """Return a permission on a schema."""
    return {"name": name, "privileges": list(words), "tables": list(tables)}


def on_table(name: str, *words: str) -> Json:
    """Return a permission on a table."""
    return {"name": name, "privileges": list(words)}


@pytest.fixture
def scene(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> Scene:
    """Build the scene, without the role."""
    connect_cluster(cluster, kubectl, namespace)
    scene = Scene(cluster, kubectl, namespace)
    scene.declare_database()
    scene.sql(
        "SET ROLE pgop_admin",
        "CREATE TABLE app.orders (id int)",
        "CREATE TABLE app.lines (id int)",
        "CREATE TABLE other.notes (id int)",
    )
    return scene


def test_privileges_removed_from_the_spec_are_gone(scene: Scene) -> None:
    orders = on_table("orders", "SELECT", "INSERT")
    lines = on_table("lines", "SELECT")
    notes = on_schema(on_table("notes", "SELECT"), name="other")
    scene.declare_role(
        scene.permit(on_schema(orders, lines), notes, words=["CONNECT", "TEMPORARY"])
    )
    scene.eventually_has({"SELECT", "INSERT"})
    scene.eventually_has({"SELECT"}, "app.lines")
    assert scene.database_words() == {"CONNECT", "TEMPORARY"}

    # One word of a table.
    orders = on_table("orders", "SELECT")
    scene.declare_role(
        scene.permit(on_schema(orders, lines), notes, words=["CONNECT", "TEMPORARY"])
    )
    scene.eventually_has({"SELECT"})
    scene.eventually_has({"SELECT"}, "app.lines")

    # One table, and one word of the database.
    scene.declare_role(scene.permit(on_schema(orders), notes))
    scene.eventually_has(set(), "app.lines")
    assert scene.database_words() == {"CONNECT"}
    assert scene.table_words("other.notes") == {"SELECT"}

    # One schema.
    scene.declare_role(scene.permit(on_schema(orders)))
    scene.eventually_has(set(), "other.notes")
    assert scene.schema_words("other") == set()
    assert scene.schema_words("app") == {"USAGE"}
    assert scene.table_words() == {"SELECT"}

    # The whole permission.
    scene.declare_role()
    scene.eventually_has(set())
    assert scene.schema_words() == set()
    assert scene.database_words() == set()
    scene.kubectl.wait(scene.target, "condition=Ready")


def test_privileges_removed_while_the_operator_was_away_are_gone(scene: Scene) -> None:
    scene.declare_role(
        scene.permit(
            on_schema(on_table("*", "SELECT", "INSERT")),
            on_schema(on_table("notes", "SELECT"), name="other"),
        )
    )
    scene.eventually_has({"SELECT", "INSERT"})
    scene.cluster.controller.stop()
    try:
        scene.kubectl.apply(
            documents(
                database_role(
                    f"{scene.namespace}-r",
                    scene.namespace,
                    permissions=[scene.permit(on_schema(on_table("*", "SELECT")))],
                )
            )
        )
    finally:
        scene.cluster.controller.start()
    scene.eventually_has({"SELECT"})
    scene.eventually_has({"SELECT"}, "app.lines")
    scene.eventually_has(set(), "other.notes")
    assert scene.schema_words("other") == set()


def test_star_covers_every_table_there_is(scene: Scene) -> None:
    scene.sql("CREATE VIEW app.seen AS SELECT 1 AS one")
    scene.sql("ALTER VIEW app.seen OWNER TO pgop_admin")
    scene.declare_role(
        scene.permit(
            on_schema(on_table("*", "SELECT"), on_table("orders", "SELECT", "INSERT"))
        )
    )
    scene.eventually_has({"SELECT"}, "app.lines")
    # `*` and named entries are a union.
    scene.eventually_has({"SELECT", "INSERT"})
    assert scene.table_words("app.seen") == {"SELECT"}
    assert scene.table_words("other.notes") == set()

    scene.declare_role(scene.permit(on_schema(on_table("orders", "INSERT"))))
    scene.eventually_has({"INSERT"})
    scene.eventually_has(set(), "app.lines")
    assert scene.table_words("app.seen") == set()


def test_missing_table_is_pending_and_the_rest_is_granted(scene: Scene) -> None:
    scene.declare_role(
        scene.permit(
            on_schema(on_table("orders", "SELECT"), on_table("late", "SELECT"))
        )
    )
    scene.eventually_has({"SELECT"})
    ready = scene.ready()
    assert (ready["status"], ready["reason"]) == ("False", "PartiallyApplied")
    path = f"spec.permissions[{scene.dbname}].schemas[app].tables[late]"
    assert list(scene.pending()) == [path]
    assert path in ready["message"]
    assert "late" in ready["message"]

    scene.sql("SET ROLE pgop_admin", "CREATE TABLE app.late ()")
    scene.eventually_has({"SELECT"}, "app.late")
    scene.kubectl.wait(scene.target, "condition=Ready", timeout=PATIENCE)
    assert scene.pending() == {}


def test_grants_given_by_hand_elsewhere_stay(scene: Scene) -> None:
    scene.declare_role(scene.permit(on_schema(on_table("orders", "SELECT"))))
    scene.eventually_has({"SELECT"})
    scene.sql(
        "SET ROLE pgop_admin",
        f'GRANT UPDATE ON app.orders TO "{scene.role}"',
        f'GRANT SELECT ON other.notes TO "{scene.role}"',
    )

    scene.declare_role(scene.permit(on_schema(on_table("orders", "INSERT"))))
    scene.eventually_has({"INSERT", "UPDATE"})
    assert scene.table_words("other.notes") == {"SELECT"}

    scene.declare_role()
    scene.eventually_has({"UPDATE"})
    assert scene.table_words("other.notes") == {"SELECT"}


def test_grant_revoked_by_hand_comes_back(scene: Scene) -> None:
    scene.kubectl.apply(
        documents(database_cluster(scene.namespace, resyncInterval="5s"))
    )
    scene.declare_role(scene.permit(on_schema(on_table("orders", "SELECT"))))
    scene.eventually_has({"SELECT"})

    scene.sql("SET ROLE pgop_admin", f'REVOKE SELECT ON app.orders FROM "{scene.role}"')
    scene.eventually_has({"SELECT"})


def test_all_is_every_privilege_the_server_knows(scene: Scene) -> None:
    version = scene.cluster.kubectl.get("databasecluster", scene.namespace)
    maintain = version["status"]["server"]["versionNumber"] >= 170000
    expected = ALL_ON_A_TABLE | ({"MAINTAIN"} if maintain else set())
    scene.declare_role(
        scene.permit(on_schema(on_table("orders", "ALL"), words=["ALL"]), words=["ALL"])
    )
    scene.eventually_has(expected)
    assert scene.schema_words() == {"USAGE", "CREATE"}
    assert scene.database_words() == {"CONNECT", "CREATE", "TEMPORARY"}
    scene.kubectl.wait(scene.target, "condition=Ready")

    scene.declare_role(scene.permit(on_schema(on_table("orders", "SELECT"))))
    scene.eventually_has({"SELECT"})
    assert scene.schema_words() == {"USAGE"}
    assert scene.database_words() == {"CONNECT"}


def test_schema_that_the_database_does_not_list_is_not_granted(scene: Scene) -> None:
    scene.sql("CREATE SCHEMA private", "CREATE TABLE private.diary ()")
    scene.sql("ALTER SCHEMA private OWNER TO pgop_admin")
    scene.declare_role(
        scene.permit(
            on_schema(on_table("orders", "SELECT")),
            on_schema(on_table("diary", "SELECT"), name="private"),
        )
    )
    scene.eventually_has({"SELECT"})
    assert scene.pending() == {
        f"spec.permissions[{scene.dbname}].schemas[private]": "NotAllowed"
    }
    assert scene.schema_words("private") == set()
    assert scene.table_words("private.diary") == set()

    names = ("app", "other", "private")
    scene.sql("ALTER TABLE private.diary OWNER TO pgop_admin")
    scene.declare_database(schemas=[{"name": name} for name in names])
    scene.eventually_has({"SELECT"}, "private.diary")


@pytest.fixture
def neighbour(cluster: LocalCluster, namespace: str) -> Iterator[Kubectl]:
    """Another namespace, whose name begins as the test's."""
    name = f"{namespace}-n"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    yield kubectl
    kubectl("delete", "databaseroles,databases", "--all", "--timeout=60s")
    kubectl.run("delete", "namespace", name, "--wait=false")


def test_role_of_another_namespace_needs_the_database_to_open(
    scene: Scene, neighbour: Kubectl
) -> None:
    own = f"{scene.namespace}-n"
    permission = scene.permit(on_schema(on_table("orders", "SELECT")))
    role = database_role(
        f"{scene.namespace}-r", scene.namespace, permissions=[permission]
    )
    neighbour.apply(documents(role))

    def refusal() -> Mapping[str, Any]:
        return condition(neighbour.get(scene.target))

    assert wait_until(
        lambda: refusal().get("reason") == "PartiallyApplied", timeout=PATIENCE
    )
    pending = neighbour.get(scene.target)["status"]["grants"]["pending"]
    assert [one["reason"] for one in pending] == ["NotAllowed"]
    assert scene.table_words() == set()
    assert scene.database_words() == set()

    scene.declare_database(allowedNamespaces={"from": "Names", "names": [own]})
    scene.eventually_has({"SELECT"})
    assert scene.database_words() == {"CONNECT"}
    neighbour.wait(scene.target, "condition=Ready")

    scene.declare_database(allowedNamespaces={"from": "Names", "names": ["nobody"]})
    scene.eventually_has(set())
    assert wait_until(lambda: scene.database_words() == set(), timeout=PATIENCE)
    assert scene.schema_words() == set()
    assert wait_until(
        lambda: refusal().get("reason") == "PartiallyApplied", timeout=PATIENCE
    )


def test_labels_of_a_namespace_let_its_roles_in_and_shut_them_out(
    scene: Scene, neighbour: Kubectl
) -> None:
    permission = scene.permit(on_schema(on_table("orders", "SELECT")))
    role = database_role(
        f"{scene.namespace}-r", scene.namespace, permissions=[permission]
    )
    trusted = {"matchExpressions": [{"key": "trusted", "operator": "Exists"}]}
    scene.declare_database(allowedNamespaces={"from": "Selector", "selector": trusted})
    neighbour.apply(documents(role))
    neighbour.wait(scene.target, "condition=Ready=False")
    assert scene.table_words() == set()

    own = f"namespace/{scene.namespace}-n"
    neighbour.run("label", own, "trusted=")
    scene.eventually_has({"SELECT"})
    neighbour.wait(scene.target, "condition=Ready")

    neighbour.run("label", own, "trusted-")
    scene.eventually_has(set())
    assert wait_until(lambda: scene.database_words() == set(), timeout=PATIENCE)


def test_role_that_the_cluster_shuts_out_loses_what_a_database_takes_back(
    scene: Scene, neighbour: Kubectl
) -> None:
    name = scene.namespace

    def let_in(*names: str) -> Json:
        return {"allowedNamespaces": {"from": "Names", "names": list(names)}}

    def reason() -> str | None:
        return condition(neighbour.get(scene.target)).get("reason")

    scene.declare_database(**let_in(f"{name}-n"))
    permission = scene.permit(on_schema(on_table("orders", "SELECT")))
    role = database_role(f"{name}-r", name, permissions=[permission])
    neighbour.apply(documents(role))
    neighbour.wait(scene.target, "condition=Ready")

    scene.kubectl.apply(documents(database_cluster(name, **let_in(name))))
    assert wait_until(lambda: reason() == "NotAllowed", timeout=PATIENCE)
    assert scene.table_words() == {"SELECT"}

    scene.declare_database()
    scene.eventually_has(set())
    assert wait_until(lambda: scene.database_words() == set(), timeout=PATIENCE)
    assert reason() == "NotAllowed"

    scene.kubectl.apply(documents(database_cluster(name)))
    scene.declare_database(**let_in(f"{name}-n"))
    neighbour.wait(scene.target, "condition=Ready")
    assert scene.table_words() == {"SELECT"}


def test_namespace_that_the_cluster_lets_in_no_more_waits(scene: Scene) -> None:
    name = scene.namespace

    def let_in(*names: str) -> None:
        spec = {"allowedNamespaces": {"from": "Names", "names": list(names)}}
        scene.kubectl.apply(documents(database_cluster(name, **spec)))

    let_in("somebody-else")
    scene.declare_role()
    ready = scene.ready()
    assert (ready["status"], ready["reason"]) == ("False", "NotAllowed")
    assert "spec.allowedNamespaces" in ready["message"]
    exists = f"SELECT count(*) FROM pg_roles WHERE rolname = '{scene.role}'"
    assert scene.sql(exists) == [(0,)]
    shop = f"database/{name}-shop"
    scene.kubectl.wait(shop, "condition=Ready=False")

    let_in("somebody-else", name)
    scene.kubectl.wait(scene.target, "condition=Ready")
    scene.kubectl.wait(shop, "condition=Ready")
    assert scene.sql(exists) == [(1,)]


def test_name_without_the_prefix_is_not_made(scene: Scene) -> None:
    prefix = "{namespace}_team_"
    scene.kubectl.apply(documents(database_cluster(scene.namespace, namePrefix=prefix)))
    scene.declare_role()
    ready = scene.ready()
    assert (ready["status"], ready["reason"]) == ("False", "NotAllowed")
    assert f"must start with '{scene.namespace}_team_'" in ready["message"]
    exists = f"SELECT count(*) FROM pg_roles WHERE rolname = '{scene.role}'"
    assert scene.sql(exists) == [(0,)]

    scene.kubectl.apply(
        documents(database_cluster(scene.namespace, namePrefix="{namespace}_"))
    )
    scene.kubectl.wait(scene.target, "condition=Ready")
    assert scene.sql(exists) == [(1,)]


def test_role_without_a_password_cannot_log_in(scene: Scene) -> None:
    scene.declare_role()
    scene.kubectl.wait(scene.target, "condition=Ready")
    can_login = f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{scene.role}'"
    assert scene.sql(can_login) == [(False,)]

    scene.kubectl.apply(documents(password_secret("pw", "a-pa55word")))
    scene.declare_role(scene.permit(), password={"name": "pw"})
    scene.kubectl.wait(scene.target, "condition=Ready")
    login(
        scene.cluster, user=scene.role, password="a-pa55word", dbname=scene.dbname
    ).close()

    scene.declare_role(scene.permit(), password={"name": "pw"}, login=False)
    scene.kubectl.wait(scene.target, "condition=Ready")
    assert scene.sql(can_login) == [(False,)]


def test_login_without_a_password_is_legal(scene: Scene) -> None:
    scene.declare_role(login=True, connectionLimit=2)
    scene.kubectl.wait(scene.target, "condition=Ready")
    row = (
        "SELECT rolcanlogin, rolpassword IS NULL, rolconnlimit, rolsuper, "
        "rolcreaterole, rolcreatedb, rolreplication, rolbypassrls "
        f"FROM pg_authid WHERE rolname = '{scene.role}'"
    )
    assert scene.sql(row) == [(True, True, 2, False, False, False, False, False)]

    # What leaves the spec keeps its last value.
    scene.declare_role(login=True)
    scene.kubectl.wait(scene.target, "condition=Ready")
    assert scene.sql(row)[0][2] == 2


def test_database_properties_are_as_declared(scene: Scene) -> None:
    shop = f"database/{scene.namespace}-shop"
    scene.declare_database(connectionLimit=5, timezone="Europe/Vienna")
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{scene.dbname}'"
    assert wait_until(lambda: scene.sql(limit) == [(5,)], timeout=PATIENCE)
    # A new session has it.
    assert wait_until(
        lambda: scene.sql("SHOW TimeZone") == [("Europe/Vienna",)], timeout=PATIENCE
    )

    scene.declare_database(connectionLimit=6, timezone="Asia/Tokyo")
    assert wait_until(lambda: scene.sql(limit) == [(6,)], timeout=PATIENCE)
    assert wait_until(
        lambda: scene.sql("SHOW TimeZone") == [("Asia/Tokyo",)], timeout=PATIENCE
    )
    scene.kubectl.wait(shop, "condition=Ready")


def test_encoding_is_the_one_of_creation(scene: Scene) -> None:
    latin = f"{scene.namespace}-latin"
    spec = {"encoding": "SQL_ASCII"}
    scene.kubectl.apply(documents(database(latin, scene.namespace, **spec)))
    scene.kubectl.wait(f"database/{latin}", "condition=Ready")
    encoding = (
        "SELECT pg_encoding_to_char(encoding) FROM pg_database "
        f"WHERE datname = '{latin.replace('-', '_')}'"
    )
    assert scene.sql(encoding) == [("SQL_ASCII",)]

    # Made anew by GitOps with another one: the kept database is taken on, and said.
    scene.kubectl.run("delete", "database", latin)
    other = database(latin, scene.namespace, encoding="UTF8")
    scene.kubectl.apply(documents(other))

    def told() -> Mapping[str, Any]:
        return condition(scene.kubectl.get("database", latin))

    assert wait_until(lambda: told().get("reason") == "Immutable", timeout=PATIENCE)
    assert "spec.encoding" in told()["message"]
    assert scene.sql(encoding) == [("SQL_ASCII",)]


def test_public_cannot_enter_a_database_unless_it_is_kept(scene: Scene) -> None:
    kept = f"{scene.namespace}-kept"
    spec = {"publicPrivileges": "Keep"}
    scene.kubectl.apply(documents(database(kept, scene.namespace, **spec)))
    scene.kubectl.wait(f"database/{kept}", "condition=Ready")
    scene.kubectl.apply(documents(password_secret("pw", "a-pa55word")))
    scene.declare_role(password={"name": "pw"})
    scene.kubectl.wait(scene.target, "condition=Ready")

    def enter(dbname: str) -> None:
        login(
            scene.cluster, user=scene.role, password="a-pa55word", dbname=dbname
        ).close()

    with pytest.raises(psycopg.OperationalError, match="CONNECT"):
        enter(scene.dbname)
    enter(kept.replace("-", "_"))


def test_role_that_may_hold_nothing_else_loses_what_it_got_by_hand(
    scene: Scene,
) -> None:
    scene.sql(
        "SET ROLE pgop_admin",
        "CREATE SEQUENCE app.ids",
        "CREATE FUNCTION app.add(int, int) RETURNS int RETURN $1 + $2",
    )
    tables: list[Json] = [
        {"name": "*", "privileges": ["SELECT"], "grantable": ["SELECT"]},
        {"name": "orders", "columns": [{"name": "id", "privileges": ["UPDATE"]}]},
    ]
    schema = {
        **on_schema(*tables),
        "exceptTables": ["lines"],
        "sequences": [{"name": "*", "privileges": ["USAGE"]}],
        "functions": [{"name": "add(int, int)", "privileges": ["EXECUTE"]}],
    }
    scene.declare_role(scene.permit(schema))
    scene.kubectl.wait(scene.target, "condition=Ready")
    assert scene.table_words() == {"SELECT"}
    assert scene.table_words("app.lines") == set()
    assert scene.table_words("app.ids") == {"USAGE"}
    may = (
        f"SELECT has_column_privilege('{scene.role}', 'app.orders', 'id', 'UPDATE'),"
        f" has_table_privilege('{scene.role}', 'app.orders',"
        " 'SELECT WITH GRANT OPTION')"
    )
    assert scene.sql(may) == [(True, True)]
    # What the operator's login creates from now on is covered at once.
    scene.sql("SET ROLE pgop_admin", "CREATE TABLE app.later ()")
    assert scene.table_words("app.later") == {"SELECT"}

    scene.sql("SET ROLE pgop_admin", f'GRANT ALL ON other.notes TO "{scene.role}"')
    scene.declare_role(scene.permit(schema), grantsPolicy="Exact")
    scene.eventually_has(set(), "other.notes")
    scene.kubectl.wait(scene.target, "condition=Ready")
    assert scene.table_words() == {"SELECT"}
