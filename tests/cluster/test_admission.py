"""What the API server lets in, what it does not, and what is done without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_role,
    documents,
    login,
    password_secret,
)
from tests.cluster.unguarded import admission_works, without_admission
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

CRD = CHECKOUT / "crds" / "pg-operator.dev_databases.yaml"
MIGRATE = "create a new Database and migrate the data"


@pytest.mark.parametrize(
    ("kind", "field", "advice"),
    [
        ("Database", "name", MIGRATE),
        ("Database", "databaseClusterRef.name", MIGRATE),
        ("Database", "encoding", MIGRATE),
        ("DatabaseRole", "roleName", "create a new DatabaseRole"),
        ("DatabaseRole", "databaseClusterRef.name", "create a new DatabaseRole"),
    ],
)
def test_what_is_chosen_at_creation_may_not_be_changed(
    kubectl: Kubectl, namespace: str, kind: str, field: str, advice: str
) -> None:
    make = {"Database": database, "DatabaseRole": database_role}[kind]
    options = {"encoding": "UTF8"} if kind == "Database" else {}
    obj = make(namespace, namespace, **options)
    kubectl.apply(documents(obj))

    outer, _, inner = field.partition(".")
    another = "LATIN1" if field == "encoding" else "another"
    obj["spec"][outer] = {inner: another} if inner else another
    refused = kubectl("apply", "--filename=-", input=documents(obj))

    assert refused.stderr == (
        f'The {kind} "{namespace}" is invalid: '
        f"spec.{field}: Forbidden: may not be changed; {advice}\n"
    )


def test_second_apply_changes_nothing_and_nothing_is_written(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    role = database_role(
        namespace,
        namespace,
        permissions=[{"database": namespace, "privileges": ["CONNECT"]}],
    )
    manifest = documents(database(namespace, namespace), role)
    kubectl.apply(manifest)
    targets = (f"database/{namespace}", f"databaserole/{namespace}")
    for target in targets:
        kubectl.wait(target, "condition=Ready")
    before = [kubectl.get(target) for target in targets]
    mark = cluster.audit_mark()

    said = kubectl.apply(manifest)
    assert said == (
        f"database.pg-operator.dev/{namespace} unchanged\n"
        f"databaserole.pg-operator.dev/{namespace} unchanged\n"
    )
    # Server-side it moves nothing but the list of who manages which field.
    kubectl.apply(manifest, "--server-side", "--force-conflicts")
    # Once this one is Ready, all that came before it was seen.
    kubectl.apply(documents(database_role(f"{namespace}-next", namespace)))
    kubectl.wait(f"databaserole/{namespace}-next", "condition=Ready")

    user = cluster.control_plane.controller.user
    written = [
        (request.verb, request.resource, request.subresource)
        for request in cluster.requests_since(mark, user=user)
        if request.writes and request.name == namespace
    ]
    assert written == []
    after = [kubectl.get(target) for target in targets]
    for old, new in zip(before, after, strict=True):
        assert new["metadata"]["generation"] == 1
        assert new["spec"] == old["spec"]
        assert new["status"] == old["status"]


def test_server_side_apply_owns_the_words_of_a_list_as_one(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(database(namespace, namespace)), "--server-side")
    kubectl.wait(f"database/{namespace}", "condition=Ready")

    def apply_words(*words: str, manager: str = "kubectl") -> str:
        permission = {"database": namespace, "privileges": list(words)}
        role = database_role(namespace, namespace, permissions=[permission])
        options = ("--server-side", f"--field-manager={manager}")
        done = kubectl("apply", "--filename=-", *options, input=documents(role))
        return done.stdout + done.stderr

    def holds(word: str) -> bool:
        query = f"SELECT has_database_privilege('{namespace}', '{namespace}', '{word}')"
        return bool(administer(cluster, "postgres", query)[0][0])

    applied = f"databaserole.pg-operator.dev/{namespace} serverside-applied\n"
    assert apply_words("CONNECT", "TEMPORARY") == applied
    kubectl.wait(f"databaserole/{namespace}", "condition=Ready")
    assert holds("CONNECT")
    assert holds("TEMPORARY")

    assert apply_words("CONNECT") == applied
    role = kubectl.get(f"databaserole/{namespace}")
    assert role["spec"]["permissions"][0]["privileges"] == ["CONNECT"]
    assert wait_until(lambda: not holds("TEMPORARY"), timeout=30)
    assert holds("CONNECT")
    # Its Event says what was done, and nothing of the operator's book-keeping.
    done = f"revoke TEMPORARY on database {namespace} from role {namespace}"
    assert wait_until(lambda: done in _messages(kubectl, "RoleUpdated"), timeout=30)

    conflict = apply_words("CREATE", manager="somebody-else")
    assert 'conflict with "kubectl"' in conflict
    assert f'.spec.permissions[database="{namespace}"].privileges' in conflict


@pytest.fixture
def without_webhook(cluster: LocalCluster) -> Iterator[None]:
    """The webhook process is down, its configurations are there."""
    cluster.webhook.stop()
    yield
    cluster.webhook.start()
    assert wait_until(lambda: admission_works(cluster.kubectl), timeout=30)


def test_without_the_webhook_everything_but_a_changed_spec_goes_on(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    request: pytest.FixtureRequest,
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    role = database_role(namespace, namespace, password={"name": "password"})
    kubectl.apply(
        documents(
            password_secret("password", "before the outage"),
            database(namespace, namespace, deletionPolicy="Delete"),
            role,
        )
    )
    targets = (f"database/{namespace}", f"databaserole/{namespace}")
    for target in targets:
        kubectl.wait(target, "condition=Ready")
    request.getfixturevalue("without_webhook")

    refused = kubectl(
        "apply", "--filename=-", input=documents(database("late", namespace))
    )
    calling = 'failed calling webhook "validate-database.pg-operator.dev"'
    assert calling in refused.stderr
    role["spec"]["connectionLimit"] = 1
    refused = kubectl("apply", "--filename=-", input=documents(role))
    assert 'webhook "validate-databaserole.pg-operator.dev"' in refused.stderr

    # A status is written: a new password leaves its fingerprint there.
    def fingerprint() -> str:
        return str(kubectl.get(targets[1])["status"]["passwordFingerprint"])

    old = fingerprint()
    kubectl.apply(documents(password_secret("password", "during the outage")))
    assert wait_until(lambda: fingerprint() != old, timeout=30)
    login(
        cluster, user=namespace, password="during the outage", dbname="postgres"
    ).close()
    # Metadata is nobody's business, and deletion runs to its end.
    kubectl.run("label", *targets, "edited=yes")
    kubectl.run("delete", *targets, "--timeout=30s")
    query = (
        f"SELECT datname FROM pg_database WHERE datname = '{namespace}'"
        f" UNION ALL SELECT rolname FROM pg_roles WHERE rolname = '{namespace}'"
    )
    assert administer(cluster, "postgres", query) == []


def test_faulty_entry_that_got_in_is_held_and_the_rest_is_applied(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    schemas = [{"name": "app"}, {"name": "audit"}]
    kubectl.apply(documents(database(namespace, namespace, schemas=schemas)))
    kubectl.wait(f"database/{namespace}", "condition=Ready")
    # No schema can say that a word may not be listed twice.
    app: dict[str, Any] = {"name": "app", "privileges": ["USAGE", "USAGE"]}
    audit = {"name": "audit", "privileges": ["USAGE"]}
    permission = {
        "database": namespace,
        "privileges": ["CONNECT"],
        "schemas": [app, audit],
    }
    role = database_role(namespace, namespace, permissions=[permission])
    refused = kubectl("apply", "--filename=-", input=documents(role))
    message = (
        "spec.permissions[0].schemas[0].privileges[1]: "
        'Duplicate value: "USAGE": must be listed once'
    )
    assert refused.stderr == f'The DatabaseRole "{namespace}" is invalid: {message}\n'

    with without_admission(kubectl):
        kubectl.apply(documents(role))
    target = f"databaserole/{namespace}"
    kubectl.wait(target, "condition=Ready=False")

    status = kubectl.get(target)["status"]
    said = {one["type"]: one["message"] for one in status["conditions"]}
    assert said["Ready"] == message
    assert status["grants"]["pending"] == [
        {
            "path": "spec.permissions[0].schemas[0].privileges[1]",
            "reason": "InvalidSpec",
            "message": 'Duplicate value: "USAGE": must be listed once',
        }
    ]
    assert _holds(cluster, namespace) == {"CONNECT", "USAGE on audit"}

    # The stored fault stops no unrelated change, which is told of it.
    patch = '{"spec": {"connectionLimit": 3}}'
    done = kubectl("patch", target, "--type=merge", f"--patch={patch}")
    assert done.returncode == 0
    assert done.stderr == f"Warning: {message}\n"

    app["privileges"] = ["USAGE"]
    kubectl.apply(documents(role))
    kubectl.wait(target, "condition=Ready")
    assert _holds(cluster, namespace) == {"CONNECT", "USAGE on app", "USAGE on audit"}


def test_invalid_object_that_got_in_is_refused_by_the_controller_with_the_same_words(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    invalid = documents(_reserved_database(namespace, namespace))
    refused = kubectl("apply", "--filename=-", input=invalid)
    message = (
        'spec.name: Invalid value: "rdsadmin": must not be a reserved database name; '
        "choose another name"
    )
    assert refused.stderr == f'The Database "{namespace}" is invalid: {message}\n'

    with without_admission(kubectl), without_rules_for_names(kubectl):
        kubectl.apply(invalid)
    target = f"database/{namespace}"
    kubectl.wait(target, "condition=Stalled")

    conditions = {
        one["type"]: (one["status"], one["reason"], one["message"])
        for one in kubectl.get(target)["status"]["conditions"]
    }
    assert conditions == {
        "Ready": ("False", "InvalidSpec", message),
        "Stalled": ("True", "InvalidSpec", message),
    }
    query = "SELECT 1 FROM pg_database WHERE datname = 'rdsadmin'"
    assert administer(cluster, "postgres", query) == []
    # It may go, and what it was never let near stays as it is.
    administer(cluster, "postgres", "CREATE DATABASE rdsadmin")
    try:
        kubectl.run("delete", target, "--timeout=30s")
        assert administer(cluster, "postgres", query) == [(1,)]
    finally:
        administer(cluster, "postgres", "DROP DATABASE rdsadmin")


@contextmanager
def without_rules_for_names(kubectl: Kubectl) -> Iterator[None]:
    """Serve Databases by a CRD of before there were rules for `spec.name`."""
    crd = yaml.safe_load(CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["name"]["x-kubernetes-validations"]
    probe = documents(_reserved_database("probe", "none"))

    def admitted() -> bool:
        options = ("--dry-run=server", "--filename=-")
        return kubectl("create", *options, input=probe).returncode == 0

    try:
        kubectl.apply(yaml.safe_dump(crd), "--server-side", "--force-conflicts")
        assert wait_until(admitted, timeout=30)
        yield
    finally:
        kubectl.apply(CRD.read_text(), "--server-side", "--force-conflicts")
        assert wait_until(lambda: not admitted(), timeout=30)


def test_columns_tell_what_where_and_whether_it_is_ready(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    orders, reader = f"{namespace}-orders", f"{namespace}-reader"
    name = orders.replace("-", "_")
    permissions = [{"database": name, "privileges": ["CONNECT", "TEMPORARY"]}]
    lost = {"database": "lost", "privileges": ["CONNECT"]}
    kubectl.apply(
        documents(
            database(orders, namespace),
            database_role(reader, namespace, permissions=permissions),
            database_role(f"{reader}-2", namespace, permissions=[*permissions, lost]),
        )
    )
    for target in (f"database/{orders}", f"databaserole/{reader}"):
        kubectl.wait(target, "condition=Ready")
    kubectl.wait(f"databaserole/{reader}-2", "jsonpath={.status.grants.applied}=2")

    def rows(*arguments: str) -> list[list[str]]:
        """The table without the last narrow column, which is the age."""
        lines = kubectl.run("get", *arguments).splitlines()
        return [line.split()[:-1] for line in lines]

    assert rows("pgcluster", namespace) == [
        ["NAME", "AVAILABLE", "READY", "REASON", "VERSION"],
        [namespace, "True", "True", "Connected", _server_version(cluster)],
    ]
    assert rows("pgdb") == [
        ["NAME", "DATABASE", "CLUSTER", "READY", "REASON"],
        [orders, name, namespace, "True", "Reconciled"],
    ]
    role = reader.replace("-", "_")
    assert rows("pgrole") == [
        ["NAME", "ROLE", "CLUSTER", "READY", "REASON"],
        [reader, role, namespace, "True", "Reconciled"],
        [f"{reader}-2", f"{role}_2", namespace, "False", "PartiallyApplied"],
    ]
    wide = kubectl.run("get", "pgrole", f"{reader}-2", "--output=wide").splitlines()
    assert wide[0].split()[-3:] == ["GRANTS", "POLICY", "MESSAGE"]
    message = (
        "spec.permissions[lost]: no Database named 'lost' is declared on "
        f"DatabaseCluster '{namespace}'; it is granted on as soon as one is"
    )
    assert wide[1].split(maxsplit=8)[6:] == ["2", "Delete", message]
    described = kubectl.run("describe", "pgdb", orders)
    assert described.count("DatabaseCreated") == 1
    assert f"Created database '{name}'" in described


def _reserved_database(name: str, cluster: str) -> dict[str, Any]:
    obj = database(name, cluster, deletionPolicy="Delete")
    obj["spec"]["name"] = "rdsadmin"
    return obj


def _holds(bed: LocalCluster, role: str) -> set[str]:
    """Return what the role of the tests above may do, of what they are about."""
    query = (
        f"SELECT has_database_privilege('{role}', '{role}', 'CONNECT'),"
        f" has_schema_privilege('{role}', 'app', 'USAGE'),"
        f" has_schema_privilege('{role}', 'audit', 'USAGE')"
    )
    (held,) = administer(bed, role, query)
    words = ("CONNECT", "USAGE on app", "USAGE on audit")
    return {word for word, holds in zip(words, held, strict=True) if holds}


def _messages(kubectl: Kubectl, reason: str) -> list[str]:
    """Return what the namespace's Events of a reason say."""
    events = kubectl.get("events", f"--field-selector=reason={reason}")
    return [event["message"] for event in events["items"]]


def _server_version(bed: LocalCluster) -> str:
    (version,) = administer(bed, "postgres", "SHOW server_version")[0]
    return str(version)
