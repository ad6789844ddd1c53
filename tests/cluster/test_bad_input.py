"""A DatabaseCluster says what is wrong with its DSN, and never what stands in it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.objects import (
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.postgres import HOST
from tests.localcluster.probes import free_ports, wait_until

KINDS = "databaseclusters,databases,databaseroles"
# Whatever of these comes out again came out of a Secret.
USER, PASSWORD, SERVER = "spilled-user", "spilled-password", "spilled-host"


@dataclass(frozen=True, slots=True)
class Case:
    """A connection Secret's data, and what the DatabaseCluster says of it."""

    reason: str
    sentence: str
    data: Mapping[str, bytes] | None = None
    connection: Mapping[str, str] = field(default_factory=dict)


def dsn(text: str) -> dict[str, bytes]:
    return {"connection": text.encode()}


def cases(bed: LocalCluster, namespace: str) -> dict[str, Case]:
    """Return what can be wrong, by a word for it."""
    login = f"user={USER} password={PASSWORD} sslmode=disable"
    here = f"host={SERVER} hostaddr={HOST}"
    good = bed.postgres.admin_dsn.encode()
    (closed,) = free_ports(1)
    refused = f"the DSN in Secret '{OPERATOR_NAMESPACE}/{{name}}' is refused: "
    return {
        "garbage": Case(
            "InvalidDSN",
            f"{refused}the DSN is neither a postgresql:// URI nor a list of key=value "
            "of libpq's options; in a URI write special characters of the password "
            "as %XX",
            dsn(f"{PASSWORD} is no {SERVER}"),
        ),
        "jdbc": Case(
            "InvalidDSN",
            f"{refused}a JDBC address is no DSN; write postgresql://user:…@host/db",
            dsn(f"jdbc:postgresql://{SERVER}/db?user={USER}&password={PASSWORD}"),
        ),
        "socket": Case(
            "InvalidDSN",
            f"{refused}the DSN's host is a unix socket; name a host and port",
            dsn(f"host=/run/{SERVER} {login}"),
        ),
        "file": Case(
            "InvalidDSN",
            f"{refused}the DSN may not set passfile",
            dsn(f"{here} {login} passfile=/run/{SERVER}"),
        ),
        "no-password": Case(
            "InvalidDSN",
            f"{refused}the DSN has no password; if the server asks for none, set "
            "require_auth to what it does ask for",
            dsn(f"{here} user={USER}"),
        ),
        "link-local": Case(
            "InvalidDSN",
            f"{refused}the DSN's host is a link-local, multicast or metadata address",
            dsn(f"host=169.254.169.254 {login}"),
        ),
        "no-secret": Case(
            "SecretNotFound",
            f"Secret '{OPERATOR_NAMESPACE}/{{name}}' does not exist; create it with "
            "the DSN under key 'connection'",
        ),
        "no-key": Case(
            "SecretKeyNotFound",
            "Secret '{name}' has no key 'connection'; add it",
            {"dsn": good},
        ),
        "empty": Case(
            "InvalidDSN",
            "key 'connection' of Secret '{name}' is empty; put the value there",
            {"connection": b""},
        ),
        "binary": Case(
            "InvalidDSN",
            "key 'connection' of Secret '{name}' is not UTF-8 text; correct it",
            {"connection": PASSWORD.encode() + b"\xff"},
        ),
        "elsewhere": Case(
            "SecretNotAllowed",
            f"spec.connection.namespace '{namespace}' is not open to DSN Secrets; put "
            f"the Secret into '{OPERATOR_NAMESPACE}', or start the controller with "
            f"--connection-namespaces={namespace}",
            connection={"namespace": namespace},
        ),
        "password": Case(
            "AuthenticationFailed",
            "the server does not accept the user and password of the DSN; correct them",
            dsn(f"{here} port={bed.postgres.port} {login}"),
        ),
        "closed-port": Case(
            "ServerUnreachable",
            "nothing listens at the DSN's address",
            dsn(f"{here} port={closed} {login}"),
        ),
        "no-tls": Case(
            "ServerUnreachable",
            "the server has no TLS, which the DSN's sslmode (require unless set) asks "
            "for",
            dsn(f"{here} port={bed.postgres.port} user={USER} password={PASSWORD}"),
        ),
    }


def test_cluster_says_what_is_wrong_and_its_objects_carry_on_when_it_is_mended(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    log = cluster.logs / "controller.log"
    offset = log.stat().st_size
    wrong = {
        f"{namespace}-{word}": it for word, it in cases(cluster, namespace).items()
    }
    kubectl.apply(
        documents(
            *(
                document
                for name, case in wrong.items()
                for document in world(name, case)
            )
        )
    )

    said = {
        ("DatabaseCluster", name): (case.reason, case.sentence.format(name=name))
        for name, case in wrong.items()
    }
    waiting = (
        "DatabaseCluster '{name}' is not available; its conditions say why, and the "
        "object is worked on as soon as it is"
    )
    waits = {
        (kind, name): ("ClusterUnavailable", waiting.format(name=name))
        for kind in ("Database", "DatabaseRole")
        for name in wrong
    }
    wait_until(lambda: conditions(kubectl, namespace) == said | waits, timeout=60)
    assert conditions(kubectl, namespace) == said | waits
    available = conditions(kubectl, namespace, "Available")
    assert available == said

    objects = kubectl.run("get", KINDS, "--output=yaml")
    events = kubectl.run("get", "events", "--output=yaml")
    events += cluster.kubectl_in("default").run("get", "events", "--output=yaml")
    logged = log.read_bytes()[offset:].decode()
    for place in (objects, events, logged):
        assert f"{namespace}-garbage" in place
        for spilled in (USER, PASSWORD, SERVER):
            assert spilled not in place

    good = [dsn_secret(name, cluster.postgres.admin_dsn) for name in wrong]
    mended = database_cluster(f"{namespace}-elsewhere", maxConnections=1)
    kubectl.apply(documents(*good, mended))
    wait_until(lambda: ready(kubectl, namespace) == 3 * len(wrong), timeout=60)
    assert ready(kubectl, namespace) == 3 * len(wrong), conditions(kubectl, namespace)


def world(name: str, case: Case) -> list[dict[str, Any]]:
    """A DatabaseCluster as a case has it, with a Database and a DatabaseRole on it."""
    server = database_cluster(name, maxConnections=1)
    server["spec"]["connection"].update(case.connection)
    parts = [server, database(name, name), database_role(name, name)]
    if case.data is None:
        return parts
    secret = dsn_secret(name, "")
    del secret["stringData"]
    secret["data"] = {
        key: base64.b64encode(value).decode() for key, value in case.data.items()
    }
    return [secret, *parts]


def conditions(
    kubectl: Kubectl, prefix: str, kind: str = "Ready"
) -> dict[tuple[str, str], tuple[str, str]]:
    """Return reason and message of every condition of a type that is False."""
    return {
        (obj["kind"], obj["metadata"]["name"]): (found["reason"], found["message"])
        for obj in kubectl.get(KINDS)["items"]
        if obj["metadata"]["name"].startswith(prefix)
        for found in obj.get("status", {}).get("conditions", [])
        if found["type"] == kind and found["status"] == "False"
    }


def ready(kubectl: Kubectl, prefix: str) -> int:
    """Return how many objects are Ready."""
    return sum(
        found["type"] == "Ready" and found["status"] == "True"
        for obj in kubectl.get(KINDS)["items"]
        if obj["metadata"]["name"].startswith(prefix)
        for found in obj.get("status", {}).get("conditions", [])
    )
