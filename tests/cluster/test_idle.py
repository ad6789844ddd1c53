"""Many roles that need nothing cost nothing, and one that does is seen in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.cluster.counts import (
    counted_statements,
    counted_writes,
    reconciles,
    wait_idle,
)
from tests.cluster.items import SCHEMA, delete_items, wait_ready
from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    database_role,
    documents,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.postgres import ADMIN
from tests.localcluster.probes import wait_until

TABLES: Final = 50
WORDS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
# One to the DSN's database, and one to the only other one; where more are allowed, one
# more for a sweep at the same moment.
CONNECTIONS: Final = 2
IDLE_SECONDS: Final = 60
JITTER: Final = 1.2


@dataclass(frozen=True)
class Size:
    """How many roles there are, and how often they and their server are looked at.

    In seconds; a pass over all roles has to fit into `resync`. `connections` may be
    made to the server, of which `most` are while nothing happens.
    """

    roles: int
    resync: int
    sweep: int
    connections: int
    most: int


@pytest.fixture(
    params=[
        pytest.param(Size(10, 5, 1, connections=2, most=CONNECTIONS), id="10"),
        pytest.param(
            Size(200, 60, 60, connections=4, most=CONNECTIONS + 1),
            id="200",
            marks=(pytest.mark.slow, pytest.mark.timeout(1800)),
        ),
    ]
)
def size(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Size]:
    """A size, and a controller that sweeps that often."""
    size: Size = request.param
    usual = cluster.controller
    usual.stop()
    sweep = f"--sweep-interval={size.sweep}s"
    cluster.controller = cluster.add_controller(f"controller-of-{size.roles}", sweep)
    try:
        yield size
    finally:
        cluster.controller.stop()
        cluster.controller = usual
        usual.start()


@dataclass(frozen=True)
class Scene:
    """One database with tables, and roles that may do something in all of them."""

    cluster: LocalCluster
    kubectl: Kubectl
    prefix: str
    size: Size

    def role(self, number: int) -> str:
        """Return the name of a role on the server."""
        return f"{self.prefix}_{number}"

    def look_every(self, seconds: int) -> None:
        """Set how often everything is looked at."""
        spec = {
            "resyncInterval": f"{seconds}s",
            "maxConnections": self.size.connections,
        }
        self.kubectl.apply(documents(database_cluster(self.prefix, **spec)))

    def make(self) -> None:
        """Make it all, and wait until it is Ready."""
        connect_cluster(self.cluster, self.kubectl, self.prefix)
        self.look_every(self.size.resync)
        self.kubectl.apply(documents(database(self.prefix, self.prefix, schema=SCHEMA)))
        self.kubectl.wait(f"database/{self.prefix}", "condition=Ready")
        self.sql(
            *(f"CREATE TABLE {SCHEMA}.t{n} (id int)" for n in range(TABLES)),
            dbname=self.prefix,
        )
        group = f"{self.prefix}-group"
        self.kubectl.apply(documents(database_role(group, self.prefix, login=False)))
        roles = map(self._role, range(self.size.roles))
        self.kubectl.run("create", "--filename=-", input=documents(*roles), timeout=300)
        wait_ready(self.kubectl, timeout=900)

    def _role(self, number: int) -> dict[str, Any]:
        tables = {"name": "*", "privileges": list(WORDS)}
        schema = {"name": SCHEMA, "privileges": ["USAGE"], "tables": [tables]}
        permission = {"database": self.prefix, "privileges": ["CONNECT"]}
        return database_role(
            f"{self.prefix}-{number}",
            self.prefix,
            memberOf=[{"role": f"{self.prefix}_group"}],
            permissions=[{**permission, "schemas": [schema]}],
        )

    def sql(self, *statements: str, dbname: str = "postgres") -> list[Any]:
        """Run statements as the operator's login, outside of the operator."""
        return administer(self.cluster, dbname, f"SET ROLE {ADMIN}", *statements)

    def look_at_all(self, *, times: int) -> int:
        """Wait until everything was looked at; return the most connections seen."""
        before, peak = reconciles(self.cluster), 0
        wanted = {
            "database": times,
            "databaserole": times * (self.size.roles + 1),
        }

        def is_done() -> bool:
            nonlocal peak
            peak = max(peak, self.connections())
            ended = reconciles(self.cluster) - before
            return all(ended[kind] >= wanted[kind] for kind in wanted)

        patience = self.size.resync * JITTER * (times + 1) + 30
        assert wait_until(is_done, timeout=patience)
        wait_idle(self.cluster)
        return peak

    def connections(self) -> int:
        """Return how many connections of the operator there are."""
        ((now,),) = self.sql(
            f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'"
        )
        return int(now)

    def holds(self, role: str, word: str, table: str) -> bool:
        """Tell whether a role itself, not by a group, has a word on a table."""
        query = (
            "SELECT count(*) FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS a"
            f" WHERE pg_class.oid = '{SCHEMA}.{table}'::regclass"
            f" AND a.privilege_type = '{word}'"
            f" AND pg_get_userbyid(a.grantee) = '{role}'"
        )
        return bool(self.sql(query, dbname=self.prefix) == [(1,)])

    def members(self) -> set[str]:
        """Return who is in the group, but for the operator's login."""
        query = (
            "SELECT member::regrole::text FROM pg_auth_members"
            f" WHERE roleid = '{self.prefix}_group'::regrole"
        )
        return {member for (member,) in self.sql(query)} - {ADMIN}


def test_roles_without_drift_cost_nothing_and_one_with_it_is_mended_in_time(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, size: Size
) -> None:
    scene = Scene(cluster, kubectl, namespace, size)
    scene.make()
    everyone = {scene.role(number) for number in range(size.roles)}

    with counted_statements(cluster):
        scene.look_at_all(times=1)  # the first to read what was written sets hint bits
    for dbname in (namespace, "postgres"):
        # Else whoever reads next prunes what is dead since the making, and logs that.
        administer(cluster, dbname, "VACUUM")
    administer(cluster, "postgres", "CHECKPOINT")
    assert wait_until(
        lambda: scene.connections() <= size.most, timeout=2 * IDLE_SECONDS
    )
    with counted_writes(cluster) as writes, counted_statements(cluster) as idle:
        connections = scene.look_at_all(times=2)
    assert (writes.objects, writes.events) == ({}, 0)
    assert (idle.written, idle.transaction_ids, idle.wal_bytes) == ({}, 0, 0)
    assert connections <= size.most

    # Of one word on one of many tables nothing is seen from outside of the database.
    first, second, third = (scene.role(number) for number in range(3))
    scene.sql(f"REVOKE DELETE ON {SCHEMA}.t7 FROM {first}", dbname=scene.prefix)
    assert wait_until(
        lambda: scene.holds(first, "DELETE", "t7"),
        timeout=size.resync * JITTER + 30,
    )

    # From now on nothing but the sweep is in time.
    scene.look_every(3600)
    wait_idle(cluster, timeout=120)
    scene.sql(f"REVOKE {scene.prefix}_group FROM {second}")
    scene.sql(f"DROP OWNED BY {third}", dbname=scene.prefix)
    scene.sql(f"DROP ROLE {third}")
    assert wait_until(
        lambda: scene.members() == everyone and scene.holds(third, "DELETE", "t7"),
        timeout=size.sweep * JITTER + 30,
    )
    delete_items(kubectl, timeout=600)
