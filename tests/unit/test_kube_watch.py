"""The watch of Secrets misses nothing, whatever the API server does to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.watch import Pace, watch_secrets
from tests.unit.kube_bed import (
    PATIENCE,
    Answer,
    FakeAPIServer,
    bookmark,
    event,
    fake_api_server,
    lists,
    refuses,
    secret,
    streams,
)

QUICK = Pace(watch=5, silence=5, first_pause=0.001, longest_pause=0.002)
PATIENT = Pace(watch=5, silence=5, first_pause=3600, longest_pause=3600)


@dataclass
class Told:
    """What a watch told, and the API server it told it of."""

    server: FakeAPIServer
    changes: list[str] = field(default_factory=list)
    lists: int = 0
    pauses: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self, namespace: str, name: str) -> None:
        """Note a change."""
        assert namespace == "shop"
        self.changes.append(name)
        self.moved.set()

    def listed(self) -> None:
        """Note a complete list."""
        self.lists += 1
        self.moved.set()

    def pause(self) -> float:
        """Note that a pause begins, and leave its length as it is."""
        self.pauses += 1
        self.moved.set()
        return 1.0

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                # Requests are no news of ours, so they are looked for in between.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.moved.wait(), 0.01)
                self.moved.clear()

    async def names(self, *expected: str) -> None:
        """Wait for as many changes, and hold them to what is expected."""
        await self.until(lambda: len(self.changes) >= len(expected))
        assert self.changes == [*expected]

    def versions(self) -> list[str | None]:
        """Return the resourceVersions that watches began from, None for lists."""
        return [
            request.query.get("resourceVersion") for request in self.server.requests
        ]


@asynccontextmanager
async def watching(
    directory: Path, *script: Answer, pace: Pace = QUICK
) -> AsyncIterator[Told]:
    """Watch an API server that answers by a script and then holds its tongue."""
    async with (
        fake_api_server(directory, *script) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        told = Told(server)
        watch = watch_secrets(
            kubernetes, told.change, told.listed, jitter=told.pause, pace=pace
        )
        task = asyncio.create_task(watch)
        try:
            yield told
        finally:
            assert not task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_all_that_is_there_and_all_that_changes_is_told(tmp_path: Path) -> None:
    events = streams(
        event("ADDED", "c", "6"),
        event("MODIFIED", "a", "7"),
        event("DELETED", "b", "8"),
    )
    listing = lists(secret("b", "2"), secret("a", "1"), version="5")
    async with watching(tmp_path, listing, events) as told:
        await told.names("a", "b", "c", "a", "b")
        assert told.lists == 1


async def test_only_metadata_is_asked_for(tmp_path: Path) -> None:
    listing, events = lists(version="5"), streams(event("ADDED", "a", "6"))
    async with watching(tmp_path, listing, events) as told:
        await told.names("a")
        for request in told.server.requests:
            assert "as=PartialObjectMetadata" in request.headers["Accept"]


@pytest.mark.parametrize("end", ["end", "cut"])
async def test_ended_watch_goes_on_at_once_from_where_it_was(
    tmp_path: Path, end: str
) -> None:
    script = (
        lists(version="5"),
        streams(event("ADDED", "a", "6"), then=end),
        streams(bookmark("9"), then=end),
        streams(event("ADDED", "b", "10")),
    )
    async with watching(tmp_path, *script, pace=PATIENT) as told:
        await told.names("a", "b")
        assert told.lists == 1
        assert told.versions()[:4] == [None, "5", "6", "9"]


@pytest.mark.parametrize(
    "expired",
    [
        refuses(410),
        streams({"type": "ERROR", "object": {"code": 410, "message": "too old"}}),
    ],
)
async def test_after_too_long_a_list_tells_what_was_missed(
    tmp_path: Path, expired: Answer
) -> None:
    script = (
        lists(
            secret("same", "1"),
            secret("gone", "2"),
            secret("changed", "3"),
            secret("remade", "4"),
            version="5",
        ),
        expired,
        lists(
            secret("same", "1"),
            secret("changed", "6"),
            secret("remade", "4", uid="u2"),
            secret("new", "7"),
            version="8",
        ),
    )
    async with watching(tmp_path, *script) as told:
        first = ("changed", "gone", "remade", "same")
        await told.names(*first, "changed", "gone", "new", "remade")
        assert told.lists == 2


async def test_list_tells_nothing_that_events_have_told(tmp_path: Path) -> None:
    events = (
        event("DELETED", "a", "6"),
        event("ADDED", "b", "7"),
        event("MODIFIED", "c", "8"),
        {"type": "ERROR", "object": {"code": 410, "message": "too old"}},
    )
    script = (
        lists(secret("a", "1"), secret("c", "2"), version="5"),
        streams(*events),
        lists(secret("b", "7"), secret("c", "8"), version="9"),
        streams(event("ADDED", "d", "10")),
    )
    async with watching(tmp_path, *script) as told:
        await told.names("a", "c", "a", "b", "c", "d")
        assert told.lists == 2


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_refused_list_and_watch_are_tried_again(
    tmp_path: Path, status: int
) -> None:
    refusals = [refuses(status)] * (2 if status == 401 else 1)
    script = (
        *refusals,
        lists(version="5"),
        *refusals,
        streams(event("ADDED", "a", "6")),
    )
    async with watching(tmp_path, *script) as told:
        await told.names("a")
        assert told.lists == 1


@pytest.mark.parametrize(
    "broken",
    [
        streams(b'{"type": "ADDED", "obj'),
        streams(b"<html>", then="cut"),
        streams({"type": "ERROR", "object": {"code": 500, "message": "etcd"}}),
        streams({"type": "ERROR", "object": {}}),
    ],
)
async def test_broken_event_is_no_news(tmp_path: Path, broken: Answer) -> None:
    script = (lists(version="5"), broken, streams(event("ADDED", "a", "6")))
    async with watching(tmp_path, *script) as told:
        await told.names("a")
        assert told.lists == 1
        assert told.versions()[:3] == [None, "5", "5"]


async def test_half_open_connection_is_given_up(tmp_path: Path) -> None:
    pace = Pace(watch=5, silence=0.3, first_pause=0.001, longest_pause=0.002)
    script = (
        lists(version="5"),
        streams(bookmark("6"), then="hang"),
        streams(event("ADDED", "a", "7")),
    )
    async with watching(tmp_path, *script, pace=pace) as told:
        await told.names("a")
        assert told.lists == 1


@pytest.mark.parametrize("useless", [streams(), streams(then="cut"), refuses(503)])
async def test_server_that_tells_nothing_is_not_hammered(
    tmp_path: Path, useless: Answer
) -> None:
    script = (lists(version="5"), useless)
    async with watching(tmp_path, *script, pace=PATIENT) as told:
        await told.until(lambda: told.pauses == 1)
        assert len(told.server.requests) == 2


async def test_list_that_expires_between_pages_begins_anew(tmp_path: Path) -> None:
    script = (
        lists(secret("a", "1"), version="5", following="more"),
        refuses(410),
        lists(secret("a", "1"), version="6", following="more"),
        lists(secret("b", "2"), version="6"),
    )
    async with watching(tmp_path, *script) as told:
        await told.names("a", "b")
        assert told.lists == 1
