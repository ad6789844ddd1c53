"""One link a server: who is told when it comes and goes. No server is asked here."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pg_operator.kube.client import Kubernetes
from pg_operator.plan.state import Server
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import Dsn
from pg_operator.reconcilers.outcome import Object
from pg_operator.reconcilers.servers import Link, Servers, Unavailable, check_identity
from pg_operator.reconcilers.settings import Settings

CLUSTER = {"metadata": {"name": "main"}}
DSN = Dsn(("db.test",), (5432,), "pgop", "postgres", 5, {})
SERVER = Server(
    version_number=180000,
    version="18",
    system_identifier="1",
    started_at="now",
    in_recovery=False,
    login="pgop",
    superuser=False,
    create_database=True,
    create_role=True,
    signal_backend=False,
)
LINK = Link(SERVER, DSN, ServerConnections(DSN), ("a", "b", "c", "1", "4"))


class Bed(Servers):
    """Servers whose probes succeed as soon as they may."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, bool]] = []
        self.link_found = LINK
        self.probed: list[str] = []
        self.may_answer = asyncio.Event()
        super().__init__(
            kubernetes=Kubernetes(None),
            settings=Settings(namespace="pg-operator-system"),
            on_change=self._take_change,
            on_lost=self.probed.append,
        )

    async def _probe(self, cluster: Object, old: Link | None) -> Link:  # noqa: ARG002
        await self.may_answer.wait()
        return self.link_found

    def _take_change(self, cluster_name: str, /, *, outside: bool) -> None:
        self.woken.append((cluster_name, outside))


async def test_objects_of_a_server_that_is_back_are_woken() -> None:
    bed = Bed()
    bed.may_answer.set()
    await bed.connect(CLUSTER)
    assert bed.woken == []
    bed.lost("main")
    with pytest.raises(Unavailable):
        await bed.link(CLUSTER)
    await bed.connect(CLUSTER)
    assert (bed.probed, bed.woken) == (["main"], [("main", False)])


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"login": "another"}, False),
        ({"started_at": "later"}, False),
        ({"system_identifier": "2"}, False),
        ({"create_role": False}, False),
    ],
    ids=str,
)
async def test_other_dsn_to_the_same_server_needs_nobody_inside(
    change: dict[str, Any], *, is_same: bool
) -> None:
    bed = Bed()
    bed.may_answer.set()
    await bed.connect(CLUSTER)
    server = replace(SERVER, **change)
    bed.link_found = replace(LINK, server=server, source=("a", "b", "c", "2", "4"))
    await bed.connect(CLUSTER)
    assert bed.woken == [("main", is_same)]


async def test_objects_that_lost_the_server_during_a_probe_are_woken_by_it() -> None:
    bed = Bed()
    probe = asyncio.create_task(bed.connect(CLUSTER))
    await asyncio.sleep(0)
    bed.lost("main")
    bed.may_answer.set()
    assert await probe is LINK
    assert bed.woken == [("main", False)]
    assert await bed.link(CLUSTER) is LINK


async def test_link_that_waits_while_its_cluster_is_forgotten_is_not_lost() -> None:
    bed = Bed()
    probe = asyncio.create_task(bed.connect(CLUSTER))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(bed.link(CLUSTER))
    forget = asyncio.create_task(bed.forget("main"))
    await asyncio.sleep(0)
    bed.may_answer.set()
    await asyncio.gather(probe, forget, waiting)
    bed.may_answer.clear()
    # Had it been kept where nothing finds it, this would wait for another probe.
    assert await asyncio.wait_for(bed.link(CLUSTER), timeout=5) is LINK


def a_cluster(*, known: str | None, expected: str | None) -> Object:
    spec: dict[str, object] = {"connection": {"name": "dsn"}}
    if expected is not None:
        spec["expectedSystemIdentifier"] = expected
    status = {} if known is None else {"server": {"systemIdentifier": known}}
    return {"metadata": {"name": "main"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("known", "expected", "is_right"),
    [
        (None, None, True),
        ("1", None, True),
        ("2", None, False),
        ("2", "1", True),  # confirmed
        ("1", "2", False),
        (None, "2", False),
    ],
)
def test_server_is_the_known_one_unless_another_is_confirmed(
    *, known: str | None, expected: str | None, is_right: bool
) -> None:
    cluster = a_cluster(known=known, expected=expected)
    if is_right:
        check_identity(cluster, SERVER)
        return
    with pytest.raises(Unavailable) as parked:
        check_identity(cluster, SERVER)
    assert parked.value.reason == "ServerChanged"
    assert "spec.expectedSystemIdentifier to '1'" in parked.value.message
