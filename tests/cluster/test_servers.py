"""Of many servers one is away: the others go on; on its return its work is done."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from tests.cluster.counts import most_sessions
from tests.cluster.items import create_items, delete_items, make_items
from tests.cluster.objects import (
    connect_server,
    database,
    database_role,
    documents,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.faults import Fault, Wire, in_thread
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.postgres import ADMIN, PostgresOptions, PostgresServer
from tests.localcluster.probes import wait_until

LOGGED = {"log_connections": "on", "log_disconnections": "on", "log_statement": "ddl"}
# With two connections one object at a time has its turn, so their order can be seen.
MOST = 2
# In the order of their urgency.
DONE = re.compile(r"statement: (ALTER ROLE \S+ .*PASSWORD|DROP ROLE|CREATE DATABASE)")
URGENCY = ("ALTER", "DROP", "CREATE")


@pytest.fixture
def far(
    cluster: LocalCluster, namespace: str, tmp_path: Path
) -> Iterator[PostgresServer]:
    """A second server, which logs who comes and what they define."""
    name, options = f"{namespace}-far", PostgresOptions(settings=LOGGED)
    server = cluster.add_postgres(name, directory=tmp_path, options=options)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("servers", "count", "fault"),
    [
        (3, 3, "refused"),
        pytest.param(
            *(20, 10, "silent"), marks=(pytest.mark.slow, pytest.mark.timeout(900))
        ),
    ],
)
def test_server_that_is_away_holds_up_no_other_and_its_work_is_done_in_order(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    far: PostgresServer,
    servers: int,
    count: int,
    fault: Fault,
) -> None:
    near = [f"{namespace}-near-{number}" for number in range(servers - 1)]
    hangs = f"{namespace}-far"
    known, gone, new = (
        [f"{namespace}-{word}-{number}" for number in range(count)]
        for word in ("known", "gone", "new")
    )

    def role(name: str) -> str:
        password = password_secret(name, "old-pa55word")
        spec = {"password": {"name": name}, "deletionPolicy": "Delete"}
        return documents(password, database_role(name, hangs, **spec))

    def ordered(name: str) -> dict[str, Any]:
        return database(name, hangs, schema="app", deletionPolicy="Delete")

    with in_thread(lambda: Wire(far.host, far.port).laid()) as wire:
        for name in near:
            connect_server(kubectl, name, cluster.postgres.admin_dsn)
        dsn = make_conninfo(far.admin_dsn, port=wire.port, connect_timeout=2)
        connect_server(kubectl, hangs, dsn, maxConnections=MOST)
        kubectl.apply("---\n".join(map(role, (*known, *gone))))
        kubectl.wait("databaseroles", "condition=Ready", "--all", timeout=120)

        wire.fault = fault
        passwords = [password_secret(name, "new-pa55word") for name in known]
        kubectl.apply(documents(*passwords))
        kubectl.run("delete", "--wait=false", *(f"pgrole/{name}" for name in gone))
        kubectl.apply(documents(*map(ordered, new)))
        for name in near:
            create_items(kubectl, make_items(name, 1), cluster=name)
        for name in near:
            kubectl.wait(f"pgdb/{name}-0", "condition=Ready", timeout=60)
            kubectl.wait(f"pgrole/{name}-0", "condition=Ready", timeout=60)
        reason = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
        for name in known:
            kubectl.wait(f"pgrole/{name}", f"{reason}=PasswordPending", timeout=120)
        for name in gone:
            kubectl.wait(f"pgrole/{name}", f"{reason}=DeletionBlocked", timeout=120)
        for name in new:
            kubectl.wait(f"pgdb/{name}", f"{reason}=ClusterUnavailable", timeout=120)

        end = far.log.stat().st_size
        wire.fault = "none"
        for target in (*(f"pgrole/{n}" for n in known), *(f"pgdb/{n}" for n in new)):
            kubectl.wait(target, "condition=Ready", timeout=60)
        assert wait_until(lambda: are_gone(kubectl, gone), timeout=60)
        log = far.log.read_bytes()[end:].decode(errors="replace")

        delete_items(kubectl, timeout=120)

    done = [URGENCY.index(found[1].split()[0]) for found in DONE.finditer(log)]
    assert done == sorted(done)
    assert [done.count(urgency) for urgency in range(3)] == [count] * 3
    assert most_sessions(far.log, user=ADMIN, since=0) == MOST


def are_gone(kubectl: Kubectl, roles: Sequence[str]) -> bool:
    """Tell whether none of these DatabaseRoles is there any more."""
    items = kubectl.get("databaseroles")["items"]
    return {item["metadata"]["name"] for item in items}.isdisjoint(roles)
