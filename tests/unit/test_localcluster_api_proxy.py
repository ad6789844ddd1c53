"""The proxy before an API server: what passes through it, and what a client sees."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.localcluster.api_proxy import (
    Answer,
    Proxy,
    cut_at_once,
    cut_midway,
    expire,
    hang,
    lose,
    refuse,
)
from tests.localcluster.faults import HOST
from tests.unit.kube_bed import FakeAPIServer, fake_api_server, says, streams

PATIENCE = 10.0
WATCH = {"watch": "1"}


@asynccontextmanager
async def proxied(
    directory: Path, *script: Any
) -> AsyncIterator[tuple[Proxy, FakeAPIServer, aiohttp.ClientSession]]:
    """A proxy without TLS before a scripted API server, and a client of it."""
    async with fake_api_server(directory, *script) as server, asyncio.timeout(PATIENCE):
        target = f"http://{server.host}:{server.port}"
        proxy = Proxy(target, trusted=ssl.create_default_context())
        async with (
            proxy.serving(None),
            aiohttp.ClientSession(f"http://{HOST}:{proxy.port}") as client,
        ):
            yield proxy, server, client


async def test_request_passes_as_it_is_and_so_does_its_answer(tmp_path: Path) -> None:
    busy = says({"kind": "Status"}, status=429, Retry_After="7")
    async with proxied(tmp_path, busy) as (proxy, server, client):
        sent = {"Authorization": "Bearer x", "Content-Type": "application/apply"}
        path = "/api/v1/secrets?labelSelector=a%3Db%2Cc"
        url = URL(path, encoded=True)
        async with client.patch(url, data=b"{}", headers=sent) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
            assert await answer.json() == {"kind": "Status"}
        (request,) = server.requests
        assert request.raw_path == path
        assert await request.read() == b"{}"
        assert sent.items() <= dict(request.headers).items()
        assert [asked.writes for asked in proxy.asked] == [True]


async def test_nothing_is_added_to_a_request_without_a_body(tmp_path: Path) -> None:
    async with proxied(tmp_path, says({})) as (_, server, client):
        skipped = {"Accept", "Accept-Encoding", "User-Agent"}
        async with client.get("/api", skip_auto_headers=skipped):
            pass
        assert {name.title() for name in server.requests[0].headers} == {"Host"}


async def test_watch_comes_through_event_by_event_and_can_be_dropped(
    tmp_path: Path,
) -> None:
    watch = streams({"type": "ADDED"}, then="hang")
    async with (
        proxied(tmp_path, watch) as (proxy, _, client),
        client.get("/api/v1/secrets", params=WATCH) as answer,
    ):
        assert await answer.content.readline() == b'{"type": "ADDED"}\n'
        proxy.drop_watches()
        with pytest.raises(aiohttp.ClientError):
            await answer.content.readline()


@pytest.mark.parametrize("code", [409, 429, 500, 503])
async def test_refusal_is_the_proxys_own_until_it_ends(
    tmp_path: Path, code: int
) -> None:
    async with proxied(tmp_path, says({"real": 1})) as (proxy, server, client):
        proxy.trouble(lambda asked: asked.path == "/x", refuse(code, retry_after=3))
        async with client.get("/x") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (code, "3")
            assert (await answer.json())["code"] == code
        assert (proxy.met, server.requests) == (1, [])
        proxy.end_trouble()
        async with client.get("/x") as answer:
            assert await answer.json() == {"real": 1}


async def test_expired_watch_says_so_in_an_event(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, _, client):
        proxy.trouble(lambda asked: asked.watches, expire)
        async with client.get("/api/v1/secrets", params=WATCH) as answer:
            assert answer.status == 200
            event: Mapping[str, Any] = await answer.json()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


@pytest.mark.parametrize("how", [lose, cut_midway])
async def test_answer_is_lost_of_what_was_done(tmp_path: Path, how: Answer) -> None:
    async with proxied(tmp_path, says({"done": True})) as (proxy, server, client):
        proxy.trouble(lambda asked: asked.writes, how)
        with pytest.raises(aiohttp.ClientError):
            async with client.post("/x", data=b"{}") as answer:
                await answer.read()
        assert len(server.requests) == 1


async def test_answer_that_ends_as_it_begins_is_of_nothing_that_was_done(
    tmp_path: Path,
) -> None:
    async with proxied(tmp_path) as (proxy, server, client):
        proxy.trouble(lambda asked: asked.watches, cut_at_once)
        async with client.get("/x", params=WATCH) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        assert server.requests == []


async def test_hanging_request_is_not_answered(tmp_path: Path) -> None:
    async with proxied(tmp_path) as (proxy, server, client):
        proxy.trouble(lambda _: True, hang)
        impatient = aiohttp.ClientTimeout(total=0.1)
        with pytest.raises(TimeoutError):
            await client.get("/x", timeout=impatient)
        assert (proxy.met, server.requests) == (1, [])


async def test_pages_are_as_small_as_is_wished(tmp_path: Path) -> None:
    async with proxied(tmp_path, says({}), says({})) as (proxy, server, client):
        proxy.page = 1
        for path in ("/x?limit=500&continue=a%3D", "/y"):
            async with client.get(path):
                pass
        asked = [dict(request.query) for request in server.requests]
        assert asked == [{"limit": "1", "continue": "a="}, {}]
