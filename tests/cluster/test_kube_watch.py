"""Every change of a Secret is seen, across cut connections, and none of its values."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.watch import Pace, watch_secrets
from tests.cluster.kube_bed import connected_by_wire
from tests.cluster.objects import documents, password_secret
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.faults import Wire
from tests.localcluster.kubectl import Kubectl

PATIENCE = 30.0
QUICK = Pace(first_pause=0.01, longest_pause=0.1)


class Seen:
    """What a watch tells of one namespace."""

    def __init__(self, namespace: str) -> None:
        """Look at a namespace."""
        self._namespace = namespace
        self._names: asyncio.Queue[str] = asyncio.Queue()
        self.listed = asyncio.Event()

    def change(self, namespace: str, name: str) -> None:
        """Take note of a change."""
        if namespace == self._namespace:
            self._names.put_nowait(name)

    async def next(self) -> str:
        """Return what changed next."""
        async with asyncio.timeout(PATIENCE):
            return await self._names.get()

    def nothing_more(self) -> bool:
        """Say whether all changes were returned."""
        return self._names.empty()


@asynccontextmanager
async def watching(kubernetes: Kubernetes, namespace: str) -> AsyncIterator[Seen]:
    """Watch, and begin when everything was listed."""
    seen = Seen(namespace)
    task = asyncio.create_task(
        watch_secrets(
            kubernetes, seen.change, seen.listed.set, jitter=lambda: 1.0, pace=QUICK
        )
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await seen.listed.wait()
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_cut(wire: Wire, *, connections: int) -> None:
    """Wait until the client has dialled again."""
    async with asyncio.timeout(PATIENCE):
        while wire.connections < connections:  # noqa: ASYNC110 (a plain counter)
            await asyncio.sleep(0.01)


async def test_secret_that_is_there_comes_changes_and_goes_is_told(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl.apply(documents(password_secret("present", "a")))
    async with (
        connected_by_wire(cluster, tmp_path) as (kubernetes, _),
        watching(kubernetes, namespace) as seen,
    ):
        assert await seen.next() == "present"
        await _run(kubectl, "create", "secret", "generic", "fresh")
        assert await seen.next() == "fresh"
        await _apply(kubectl, "present", "b")
        assert await seen.next() == "present"
        await _run(kubectl, "delete", "secret", "fresh")
        assert await seen.next() == "fresh"
        assert seen.nothing_more()


async def test_change_is_seen_although_the_connection_was_cut(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    async with (
        connected_by_wire(cluster, tmp_path) as (kubernetes, wire),
        watching(kubernetes, namespace) as seen,
    ):
        for turn in ("first", "second", "third"):
            before = wire.connections
            wire.cut()
            await until_cut(wire, connections=before + 1)
            await _apply(kubectl, "password", turn)
            assert await seen.next() == "password"


async def test_what_was_deleted_while_nobody_watched_is_told(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl.apply(documents(password_secret("password", "a")))
    async with (
        connected_by_wire(cluster, tmp_path) as (kubernetes, wire),
        watching(kubernetes, namespace) as seen,
    ):
        assert await seen.next() == "password"
        wire.fault = "refused"
        await _run(kubectl, "delete", "secret", "password")
        wire.fault = "none"
        assert await seen.next() == "password"


async def _apply(kubectl: Kubectl, name: str, password: str) -> None:
    await asyncio.to_thread(kubectl.apply, documents(password_secret(name, password)))


async def _run(kubectl: Kubectl, *args: str) -> None:
    await asyncio.to_thread(kubectl.run, *args)
