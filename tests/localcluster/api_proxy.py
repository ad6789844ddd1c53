"""An API server that fails on purpose: what it says is its own, or the real one's.

It ends TLS with a certificate of its own and passes each request on as it came, its
token included. What fails below HTTP is the business of the wire in front of it.
"""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.localcluster.certificates import issue_for
from tests.localcluster.faults import HOST, Wire, in_thread

# Of one connection, not of the message; or counted anew.
HOP_BY_HOP: Final = ("Connection", "Content-Length", "Host", "Transfer-Encoding")
# What aiohttp would add to a request that came without.
ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
REASONS: Final[Mapping[int, str]] = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and when it came (seconds of the monotonic clock)."""

    method: str
    path: str
    query: Mapping[str, str]
    moment: float = field(compare=False, default_factory=time.monotonic)

    @property
    def writes(self) -> bool:
        """Tell whether it is to change something."""
        return self.method != "GET"

    @property
    def watches(self) -> bool:
        """Tell whether it is answered for as long as it is asked."""
        return self.query.get("watch") in {"1", "true"}

    @property
    def continues(self) -> bool:
        """Tell whether it asks for a further page of a list."""
        return "continue" in self.query


class Proxy:
    """Passes requests on, unless something is wrong; methods are of any thread.

    `asked` has every request so far, and `met` counts those that something was wrong
    with. Lists come in pages of at most `page` objects, if that is not 0.
    """

    def __init__(self, target: str, *, trusted: ssl.SSLContext) -> None:
        """Lead to an API server by its URL, and whom to take for it."""
        self._target = target
        self._trusted = trusted
        self._session: aiohttp.ClientSession | None = None
        self._trouble: tuple[Callable[[Asked], bool], Answer] | None = None
        self._watches: set[asyncio.Transport] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.asked: list[Asked] = []
        self.met = 0
        self.page = 0
        self.port = 0

    def trouble(self, which: Callable[[Asked], bool], how: "Answer") -> None:
        """Have requests answered otherwise from now on; `met` begins anew."""
        self.met = 0
        self._trouble = which, how

    def end_trouble(self) -> None:
        """Pass everything on again."""
        self._trouble = None

    def drop_watches(self) -> None:
        """Cut every watch there is, and nothing else."""
        assert self._loop is not None, "it does not serve yet"
        self._loop.call_soon_threadsafe(self._abort_watches)

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None) -> AsyncIterator["Proxy"]:
        """Accept requests inside the block."""
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # A client that goes takes its watch with it.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        connector = aiohttp.TCPConnector(ssl=self._trusted, limit=0)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=ADDED,
        ) as self._session:
            await runner.setup()
            await web.TCPSite(runner, HOST, 0, ssl_context=tls).start()
            self.port = runner.addresses[0][1]
            try:
                yield self
            finally:
                await runner.cleanup()

    @asynccontextmanager
    async def ask(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Have the API server answer a request."""
        assert self._session is not None
        url = URL(self._target + request.raw_path, encoded=True)
        if self.page and "limit" in url.query:
            url = url.update_query(limit=str(self.page))
        async with self._session.request(
            request.method,
            url,
            headers=_end_to_end(request.headers),
            data=await request.read() or None,
            allow_redirects=False,
        ) as answer:
            yield answer

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(request)
        self.asked.append(asked)
        if self._trouble is not None and self._trouble[0](asked):
            self.met += 1
            return await self._trouble[1](self, request)
        transport = _transport(request)
        if asked.watches:
            self._watches.add(transport)
        try:
            return await self._pass_on(request)
        except aiohttp.ClientError:
            # Whatever became of the API server becomes of us.
            transport.abort()
            raise
        finally:
            self._watches.discard(transport)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        async with self.ask(request) as answer:
            response = web.StreamResponse(
                status=answer.status, headers=_end_to_end(answer.headers)
            )
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    def _abort_watches(self) -> None:
        for transport in self._watches:
            transport.abort()


Answer = Callable[[Proxy, web.Request], Awaitable[web.StreamResponse]]


def refuse(status: int, *, retry_after: int | None = None) -> Answer:
    """Answer as an API server that refuses; it is never asked."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    async def answer(_proxy: Proxy, _request: web.Request) -> web.StreamResponse:
        return web.json_response(_status(status), status=status, headers=headers)

    return answer


async def expire(proxy: Proxy, request: web.Request) -> web.StreamResponse:
    """Say that its version is too old: to a watch, as API servers do, in an event."""
    if not _asked(request).watches:
        return await refuse(410)(proxy, request)
    event = {"type": "ERROR", "object": _status(410)}
    return web.Response(body=json.dumps(event) + "\n", content_type="application/json")


async def hang(_proxy: Proxy, _request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def lose(proxy: Proxy, request: web.Request) -> web.StreamResponse:
    """Have it done, and cut the connection instead of an answer."""
    async with proxy.ask(request) as answer:
        await answer.read()
    return _cut(request)


async def cut_midway(proxy: Proxy, request: web.Request) -> web.StreamResponse:
    """Have it done, and cut the connection in the middle of the answer."""
    async with proxy.ask(request) as answer:
        content = await answer.read()
        headers = _end_to_end(answer.headers)
        response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    return _cut(request, response)


async def cut_at_once(_proxy: Proxy, request: web.Request) -> web.StreamResponse:
    """Begin an answer, and cut the connection; nothing is done."""
    response = web.StreamResponse()
    await response.prepare(request)
    return _cut(request, response)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before an API server: a wire, and behind it the proxy."""

    wire: Wire
    proxy: Proxy
    kubeconfig: Path


@contextmanager
def fronted(kubeconfig: Path, *, directory: Path) -> Iterator[Front]:
    """Stand before the API server of a kubeconfig, and write one that leads here."""
    document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    (entry,) = document["clusters"]
    cluster = entry["cluster"]
    ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
    trusted = ssl.create_default_context(cadata=ca)
    ca_pem, tls = _own_tls()

    @asynccontextmanager
    async def stand() -> AsyncIterator[Front]:
        proxy = Proxy(cluster["server"], trusted=trusted)
        async with (
            proxy.serving(tls),
            Wire(HOST, proxy.port).laid() as wire,
        ):
            yield Front(wire, proxy, directory / "kubeconfig")

    with in_thread(stand) as front:
        entry["cluster"] = {
            "server": f"https://{front.wire.address}",
            "certificate-authority-data": base64.b64encode(ca_pem).decode(),
        }
        front.kubeconfig.touch(mode=0o600)
        front.kubeconfig.write_text(yaml.safe_dump(document), encoding="utf-8")
        yield front


def _own_tls() -> tuple[bytes, ssl.SSLContext]:
    """Return the certificate of an authority, and TLS with one that it signed."""
    authority, leaf = issue_for()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(leaf.private_key_pem + leaf.certificate_pem)
        pair.flush()
        context.load_cert_chain(pair.name)
    return authority.certificate_pem, context


def _asked(request: web.Request) -> Asked:
    return Asked(request.method, request.path, dict(request.query))


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def _transport(request: web.Request) -> asyncio.Transport:
    assert request.transport is not None
    # The server's transports are those of TCP or TLS, whatever the type says.
    return request.transport


def _cut(
    request: web.Request, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


def _status(code: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": "it is a test",
        "reason": REASONS[code],
        "code": code,
    }
