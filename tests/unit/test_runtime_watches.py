"""Kopf as a teller of events, before an API server of a few lines."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pg_operator.api.specs import GROUP, PLURALS, VERSION
from pg_operator.runtime.login import WATCH_SECONDS
from pg_operator.runtime.watches import Watches, WatchesEnded
from tests.unit.runtime_bed import a_cluster, changed

Json = dict[str, Any]


class Served:
    """What the API server serves: one DatabaseCluster, and then `events` of it."""

    def __init__(self) -> None:
        self.plurals = list(PLURALS.values())
        self.first = a_cluster()
        self.events: list[Json] = []
        self.watches = 0
        self.is_brief = False
        self.knows_us = True
        # What a watch of Databases is refused with, and no other one is answered.
        self.refusal = 0
        self.closing = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """The few paths that Kopf asks for."""
        ours = f"/apis/{GROUP}"
        return [
            web.get("/api", self._answer({"versions": ["v1"]})),
            web.get("/api/v1", self._resources(["namespaces"])),
            web.get("/apis", self._answer({"groups": [self._group()]})),
            web.get(ours, self._answer(self._group())),
            web.get(f"{ours}/{VERSION}", self._resources(self.plurals)),
            web.get("/api/v1/namespaces", self._collection),
            web.get(f"{ours}/{VERSION}/{{plural}}", self._collection),
        ]

    def _group(self) -> Json:
        version = {"version": VERSION, "groupVersion": f"{GROUP}/{VERSION}"}
        return {"name": GROUP, "versions": [version], "preferredVersion": version}

    def _resources(self, plurals: list[str]) -> Any:
        async def answer(_: web.Request) -> web.Response:
            verbs = ["get", "list", "watch", "patch"]
            resources = [
                {
                    "name": plural,
                    "kind": plural,
                    "singularName": plural,
                    "namespaced": False,
                    "verbs": verbs,
                }
                for plural in plurals
            ]
            return web.json_response({"resources": resources})

        return answer

    def _answer(self, body: Json) -> Any:
        async def answer(_: web.Request) -> web.Response:
            return web.json_response(body)

        return answer

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        if not self.knows_us:
            return web.json_response({"kind": "Status"}, status=401)
        is_ours = request.match_info.get("plural") == "databaseclusters"
        if "watch" not in request.query:
            items = [self.first] if is_ours else []
            metadata = {"resourceVersion": "1"}
            return web.json_response({"metadata": metadata, "items": items})
        if self.refusal and request.match_info.get("plural") == "databases":
            return web.json_response({"kind": "Status"}, status=self.refusal)
        if self.refusal:
            await self.closing.wait()
        self.watches += is_ours
        response = web.StreamResponse()
        await response.prepare(request)
        if self.is_brief:
            return response
        for event in self.events if is_ours else ():
            await response.write(json.dumps(event).encode() + b"\n")
        await self.closing.wait()
        return response


@pytest.fixture
async def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """An API server that Kopf finds by $KUBECONFIG."""
    served = Served()
    application = web.Application()
    application.add_routes(served.routes())
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield served
    served.closing.set()
    await runner.cleanup()


async def test_watches_tell_what_was_listed_and_then_each_event_in_order(
    served: Served,
) -> None:
    told: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    second = changed(served.first)
    events = [("MODIFIED", second), ("DELETED", changed(second))]
    served.events = [{"type": word, "object": obj} for word, obj in events]
    watches = Watches(lambda *event: told.put_nowait(event))
    running = asyncio.create_task(watches.run())
    await watches.begun()
    assert watches.is_alive
    for event in [(None, served.first), *events]:
        assert await told.get() == ("DatabaseCluster", *event)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert not watches.is_alive


async def test_watches_end_when_a_resource_is_not_served(served: Served) -> None:
    served.plurals.remove("databaseroles")
    watches = Watches(lambda *_: None)
    with pytest.raises(WatchesEnded, match="does not serve databaseroles"):
        await watches.run()
    assert not watches.is_alive


async def test_watch_that_ends_as_it_begins_is_not_begun_over_and_over(
    served: Served,
) -> None:
    served.is_brief = True
    watches = Watches(lambda *_: None)
    running = asyncio.create_task(watches.run())
    await watches.begun()
    began = time.monotonic()
    while served.watches < 3:  # noqa: ASYNC110 (a plain counter)
        await asyncio.sleep(0.01)
    # Slowness only makes fewer of them.
    assert served.watches <= 2 + (time.monotonic() - began) / WATCH_SECONDS
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.mark.slow  # Kopf waits for 5 s
async def test_watches_end_of_a_refusal_even_while_others_are_not_answered(
    served: Served,
) -> None:
    served.refusal = 410
    watches = Watches(lambda *_: None)
    with pytest.raises(WatchesEnded, match="410"):
        await watches.run()
    assert not watches.is_alive


@pytest.mark.slow  # Kopf waits for 5 s
async def test_watches_end_when_the_only_credentials_are_refused(
    served: Served,
) -> None:
    served.knows_us = False
    watches = Watches(lambda *_: None)
    with pytest.raises(WatchesEnded, match="credentials"):
        async with asyncio.timeout(30):
            await watches.run()
    assert not watches.is_alive
