"""What certificate and webhook tests stand on: mounts, reviews, a real TLS server."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import aiohttp
import kopf
from kopf._cogs.structs.ephemera import AnyMemo
from kopf._cogs.structs.references import Insights
from kopf._core.engines.admission import serve_admission_request
from kopf._core.engines.indexing import OperatorIndexers
from prometheus_client import CollectorRegistry

from certs.issue import KeyPair, issue_authority, issue_leaf
from certs.reload import ServingCertificate
from pg_operator.api.errors import Verdict
from pg_operator.api.validation import Validator
from pg_operator.runtime.memories import NoMemories
from webhooks.handlers import KINDS, AdmittedKind, register
from webhooks.metrics import WebhookMetrics
from webhooks.server import WebhookServer

JSON = Mapping[str, Any]


class Mount:
    """A Secret mounted as Kubernetes does it: one symlink that is swapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0
        self.certificate = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.certificate.symlink_to(Path("..data") / "tls.crt")
        self.key.symlink_to(Path("..data") / "tls.key")

    def publish(self, *, certificate: bytes, key: bytes) -> None:
        """Swap in a new generation of both files, at once."""
        self._generation += 1
        data = self._folder / f"..{self._generation}"
        data.mkdir()
        (data / "tls.crt").write_bytes(certificate)
        (data / "tls.key").write_bytes(key)
        link = self._folder / "..data_tmp"
        link.symlink_to(data.name)
        link.rename(self._folder / "..data")

    def publish_pair(self, pair: KeyPair) -> None:
        """Swap in a certificate and its own key."""
        self.publish(certificate=pair.certificate_pem, key=pair.private_key_pem)


def an_authority() -> KeyPair:
    """Issue an authority that is valid today."""
    now = datetime.now(UTC)
    return issue_authority(common_name="ca", now=now, lifetime=timedelta(days=1))


def leaf_of(authority: KeyPair) -> KeyPair:
    """Issue a serving certificate for loopback."""
    return issue_leaf(
        authority,
        dns_names=["localhost"],
        ip_addresses=["127.0.0.1"],
        now=datetime.now(UTC),
        lifetime=timedelta(hours=1),
    )


def client_context(authority: KeyPair) -> ssl.SSLContext:
    """Make a client that trusts this authority and nothing else."""
    return ssl.create_default_context(cadata=authority.certificate_pem.decode())


def a_database(**spec: object) -> dict[str, Any]:
    """Write a valid Database, with fields of its spec replaced."""
    return {
        "apiVersion": "pg-operator.dev/v1alpha1",
        "kind": "Database",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "1"},
        "spec": {"name": "orders", "databaseClusterRef": {"name": "main"}, **spec},
    }


def a_review(
    new: JSON | None,
    *,
    old: JSON | None = None,
    operation: str | None = None,
    plural: str = "databases",
    **request: object,
) -> dict[str, Any]:
    """Write the review that the API server sends: UPDATE where there is an old."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "review-1",
            "kind": {
                "group": "pg-operator.dev",
                "version": "v1alpha1",
                "kind": "Database",
            },
            "resource": {
                "group": "pg-operator.dev",
                "version": "v1alpha1",
                "resource": plural,
            },
            "name": "orders",
            "namespace": "shop",
            "operation": operation or ("CREATE" if old is None else "UPDATE"),
            "userInfo": {"username": "jane"},
            "object": new,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def kopf_function(
    registry: kopf.OperatorRegistry, routes: Mapping[str, kopf.Resource]
) -> kopf.WebhookFn:
    """Return Kopf's real dispatch, with the resources as if it had discovered them."""
    dispatch = partial(
        serve_admission_request,
        settings=kopf.OperatorSettings(),
        memories=NoMemories(),
        memobase=AnyMemo(kopf.Memo()),
        registry=registry,
        insights=Insights(webhook_resources=set(routes.values())),
        indices=OperatorIndexers().indices,
    )
    return cast("kopf.WebhookFn", dispatch)


def no_claims(*_: object, **__: object) -> Verdict:
    """Know nothing of other objects."""
    return Verdict()


def databases_only(validate: Validator) -> tuple[AdmittedKind, ...]:
    """Admit Databases by a rule of the test's own."""
    return (AdmittedKind("Database", validate),)


@dataclass(frozen=True, slots=True)
class Served:
    """A serving webhook and a client that trusts it."""

    url: str
    client: aiohttp.ClientSession
    stop: Callable[[], object]
    mount: Mount
    authority: KeyPair

    async def post(
        self,
        path: str,
        document: object,
        *,
        client: aiohttp.ClientSession | None = None,
    ) -> tuple[int, Any]:
        """Send a JSON body; return the status and, of a 200, the response inside."""
        body = BytesIO(json.dumps(document).encode())
        async with (client or self.client).post(
            self.url + path, data=body, headers={"Content-Type": "application/json"}
        ) as got:
            if got.status != 200:
                return got.status, await got.text()
            return 200, (await got.json())["response"]


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    kinds: tuple[AdmittedKind, ...] | None = None,
    fn: kopf.WebhookFn | None = None,
    drain_seconds: float = 0.0,
) -> AsyncIterator[Served]:
    """Serve admission on a free loopback port through Kopf's real dispatch."""
    registry = kopf.OperatorRegistry()
    routes = register(registry, claims=no_claims, kinds=kinds or KINDS)
    authority = an_authority()
    mount = Mount(folder)
    mount.publish_pair(leaf_of(authority))
    server = WebhookServer(
        host="127.0.0.1",
        port=0,
        certificate=ServingCertificate(mount.certificate, mount.key),
        routes=routes,
        metrics=WebhookMetrics(CollectorRegistry()),
        drain_seconds=drain_seconds,
        reload_interval=0.01,
    )
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async for config in server(fn or kopf_function(registry, routes)):
            url.set_result(config.get("url") or "")

    running = asyncio.create_task(run())
    try:
        async with client_session(authority) as client:
            yield Served(await url, client, running.cancel, mount, authority)
    finally:
        running.cancel()
        await asyncio.wait({running})


def client_session(authority: KeyPair, *, limit: int = 100) -> aiohttp.ClientSession:
    """Open a client with its own connections."""
    connector = aiohttp.TCPConnector(ssl=client_context(authority), limit=limit)
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=100)
    )
