"""An API server that says what a test wants it to say."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENCE = 10.0


@dataclass
class FakeAPIServer:
    """Answers requests by a script, and keeps what was asked.

    When the script is at its end, requests wait until the test is over.
    """

    script: list[Answer]
    kubeconfig: Path
    host: str = ""
    port: int = 0
    requests: list[web.Request] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Give the next answer."""
        await request.read()
        self.requests.append(request)
        if not self.script:
            await self.over.wait()
            return web.Response(status=503)
        return await self.script.pop(0)(request)


@asynccontextmanager
async def fake_api_server(
    directory: Path, *script: Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeAPIServer]:
    """Serve a script on loopback; the kubeconfig has the token "first" (no TLS)."""
    server = FakeAPIServer(list(script), directory / "kubeconfig")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.host, server.port = runner.addresses[0][:2]
    address = f"http://{server.host}:{server.port}"
    write_kubeconfig(server.kubeconfig, address, token="first")
    try:
        yield server
    finally:
        server.over.set()
        await runner.cleanup()


def write_kubeconfig(path: Path, server: str, *, token: str) -> None:
    """Write a kubeconfig for one user."""
    document = {
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "user"}}],
        "current-context": "fake",
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def says(document: Any, *, status: int = 200, **headers: str) -> Answer:
    """Answer with a JSON document."""

    async def answer(_: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(document, status=status, headers=names)

    return answer


def refuses(status: int, message: str = "no") -> Answer:
    """Answer with a metav1.Status."""
    return says({"kind": "Status", "message": message, "code": status}, status=status)


def lists(*items: dict[str, Any], version: str, following: str = "") -> Answer:
    """Answer with a list of metadata."""
    metadata = {"resourceVersion": version} | (
        {"continue": following} if following else {}
    )
    return says(
        {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadataList",
            "metadata": metadata,
            "items": [dict(item) for item in items],
        }
    )


def streams(*events: Any, then: str = "end") -> Answer:
    """Answer with watch events, and then "end", "cut" or "hang"."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            line = event if isinstance(event, bytes) else json.dumps(event).encode()
            await response.write(line + b"\n")
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        if then == "hang":
            await asyncio.Event().wait()
        return response

    return answer


def secret(name: str, version: str, *, uid: str = "u1") -> dict[str, Any]:
    """Return a Secret's metadata."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid,
            "resourceVersion": version,
        }
    }


def event(kind: str, name: str, version: str, *, uid: str = "u1") -> dict[str, Any]:
    """Return a watch event about a Secret."""
    return {"type": kind, "object": secret(name, version, uid=uid)}


def bookmark(version: str) -> dict[str, Any]:
    """Return a watch event that only says how far the API server is."""
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
