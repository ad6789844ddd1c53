"""Certificates without cert-manager, on an API server of two kinds of objects."""

import asyncio
import base64
import copy
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.authority import PUBLISHED_FOR, Authority, split_bundle
from pg_operator.kube.admission import CONFIGURATIONS
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import Conflict, NotFound, Unreachable
from pg_operator.kube.paths import configuration_path, core_path
from webhooks.authority import AUTHORITY_SECRET, OwnCertificate, service_names

NAMESPACE = "pg-operator-system"
SECRET = core_path("secrets", NAMESPACE, AUTHORITY_SECRET)
PATHS = [configuration_path(kind, name) for kind, name in CONFIGURATIONS]
HOST = service_names(NAMESPACE)[0]
Json = dict[str, Any]


class StoringAPIServer(Kubernetes):
    """Stores objects by their path, with resourceVersions, and nothing more."""

    def __init__(self) -> None:
        super().__init__(None)
        self.objects: dict[str, Json] = {}
        self.writes: list[str] = []
        self.is_down = False
        self._version = 1
        for (kind, name), path in zip(CONFIGURATIONS, PATHS, strict=True):
            self.objects[path] = {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name, "resourceVersion": "1"},
                "webhooks": [
                    {"name": one, "clientConfig": {"service": {"name": "s"}}}
                    for one in ("a.example", "b.example")
                ],
            }

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        **_: Any,
    ) -> Json:
        """Do as the API server does; others get their turn in the middle of it."""
        await asyncio.sleep(0)
        if self.is_down:
            raise Unreachable("nobody there")
        sent = copy.deepcopy(dict(body or {}))
        if method == "POST":
            path = f"{path}/{sent['metadata']['name']}"
            if path in self.objects:
                raise Conflict("exists")
            sent["metadata"]["namespace"] = NAMESPACE
            self.objects[path] = sent
        elif path not in self.objects:
            raise NotFound(path)
        stored = self.objects[path]
        if method == "PATCH":
            if sent["metadata"]["resourceVersion"] != _version_of(stored):
                raise Conflict("changed")
            stored.setdefault("data", {}).update(sent.get("data", {}))
            for new in sent.get("webhooks", ()):
                (old,) = [w for w in stored["webhooks"] if w["name"] == new["name"]]
                old["clientConfig"] |= new["clientConfig"]
        if method != "GET":
            self.writes.append(path)
            self._version += 1
            stored["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(stored)

    def bundles(self) -> list[bytes]:
        """Return every caBundle there is."""
        return [
            base64.b64decode(webhook["clientConfig"].get("caBundle", ""))
            for path in PATHS
            if path in self.objects
            for webhook in self.objects[path]["webhooks"]
        ]

    def wipe(self) -> None:
        """Take caBundle away, as applying a manifest anew may do."""
        for path in PATHS:
            for webhook in self.objects[path]["webhooks"]:
                webhook["clientConfig"].pop("caBundle", None)

    def authority(self) -> Authority:
        """Return what is stored."""
        data = self.objects[SECRET]["data"]
        return Authority.from_data({k: base64.b64decode(v) for k, v in data.items()})


def _version_of(stored: Json) -> str:
    return str(stored["metadata"]["resourceVersion"])


class Clock:
    """The wall clock of a test."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


@pytest.fixture
def api() -> StoringAPIServer:
    return StoringAPIServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(api: StoringAPIServer, clock: Clock) -> OwnCertificate:
    return OwnCertificate(
        api,
        namespace=NAMESPACE,
        hosts=service_names(NAMESPACE),
        addresses=[],
        now=clock,
    )


async def shakes_hands(certificate: OwnCertificate, bundle: bytes) -> bool:
    """Tell whether a client that trusts a bundle gets a connection."""
    client = ssl.create_default_context(cadata=bundle.decode())
    server = await asyncio.start_server(
        lambda _, writer: writer.close(),
        "127.0.0.1",
        0,
        ssl=certificate.context,
        ssl_handshake_timeout=5,
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname=HOST
            )
        except (ssl.SSLError, ConnectionError):
            return False
        writer.close()
    return True


async def test_first_step_makes_an_authority_that_the_api_server_trusts(
    api: StoringAPIServer, clock: Clock
) -> None:
    certificate = replica(api, clock)
    assert certificate.not_after is None
    assert await certificate.step()
    assert set(api.bundles()) == {api.authority().bundle}
    assert len(api.bundles()) == 4
    assert await shakes_hands(certificate, api.bundles()[0])
    labels = api.objects[SECRET]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/managed-by": "pg-operator"}


async def test_nothing_is_written_while_nothing_is_due(
    api: StoringAPIServer, clock: Clock
) -> None:
    certificate = replica(api, clock)
    await certificate.step()
    api.writes.clear()
    assert await certificate.step()
    assert await replica(api, clock).step()
    assert api.writes == []


async def test_replicas_that_start_at_once_agree_on_one_authority(
    api: StoringAPIServer, clock: Clock
) -> None:
    replicas = [replica(api, clock) for _ in range(4)]

    await asyncio.gather(*(one.step() for one in replicas))
    assert set(api.bundles()) == {api.authority().bundle}
    assert len(split_bundle(api.bundles()[0])) == 1
    for one in replicas:
        assert await shakes_hands(one, api.bundles()[0])


async def test_secret_of_somebody_else_is_neither_used_nor_touched(
    api: StoringAPIServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await replica(api, clock).step()
    api.objects[SECRET]["metadata"]["labels"] = {}
    api.wipe()
    api.writes.clear()
    certificate = replica(api, clock)
    watching = asyncio.create_task(certificate.watch(interval=0.001))
    async with asyncio.timeout(10):
        while "was not made by pg-operator" not in caplog.text:
            await asyncio.wait({watching}, timeout=0.001)
    watching.cancel()
    assert api.writes == []
    assert certificate.not_after is None
    assert not await shakes_hands(certificate, api.authority().bundle)


async def test_unusable_secret_of_ours_says_what_to_do(
    api: StoringAPIServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await replica(api, clock).step()
    key = api.objects[SECRET]["data"]["tls.key"]
    api.objects[SECRET]["data"]["tls.crt"] = ""
    watching = asyncio.create_task(replica(api, clock).watch(interval=0.001))
    async with asyncio.timeout(10):
        while "delete it to have a new one made" not in caplog.text:
            await asyncio.wait({watching}, timeout=0.001)
    watching.cancel()
    assert base64.b64decode(key).decode() not in caplog.text


async def test_bundle_that_was_wiped_comes_back(
    api: StoringAPIServer, clock: Clock
) -> None:
    certificate = replica(api, clock)
    await certificate.step()
    before = api.bundles()
    api.wipe()
    assert await certificate.step()
    assert api.bundles() == before


async def test_configurations_that_come_later_are_told(
    api: StoringAPIServer, clock: Clock
) -> None:
    """They are applied after the Deployment."""
    later = {path: api.objects.pop(path) for path in PATHS}
    certificate = replica(api, clock)
    assert not await certificate.step()
    api.objects |= later
    assert await certificate.step()
    assert await shakes_hands(certificate, api.bundles()[0])


async def test_deleted_secret_comes_back_as_it_was(
    api: StoringAPIServer, clock: Clock
) -> None:
    certificate = replica(api, clock)
    await certificate.step()
    before = api.authority()
    del api.objects[SECRET]
    await certificate.step()
    assert api.authority() == before


async def test_unreachable_api_server_stops_no_service(
    api: StoringAPIServer, clock: Clock
) -> None:
    certificate = replica(api, clock)
    await certificate.step()
    api.is_down = True
    with pytest.raises(Unreachable):
        await certificate.step()
    assert await shakes_hands(certificate, api.bundles()[0])


async def test_leaf_is_renewed_by_the_wall_clock(
    api: StoringAPIServer, clock: Clock
) -> None:
    """A machine that slept for two months renews when it wakes."""
    certificate = replica(api, clock)
    await certificate.step()
    before = certificate.not_after
    api.writes.clear()
    clock.now += timedelta(days=61)
    await certificate.step()
    assert before is not None
    assert certificate.not_after == (clock.now + timedelta(days=90)).replace(
        microsecond=0
    )
    assert api.writes == []


async def test_succession_never_serves_what_the_api_server_does_not_trust(
    api: StoringAPIServer, clock: Clock
) -> None:
    """Two replicas that look in turn, from before the succession until after it.

    Clients go by the real clock, so everything they see happens in the last days.
    """
    clock.now -= timedelta(days=495)
    replicas = [replica(api, clock), replica(api, clock)]
    for one in replicas:
        await one.step()
    first = api.authority().current
    clock.now += timedelta(days=489)
    bundles = set()
    for turn in range(12):
        await replicas[turn % 2].step()
        for one in replicas:
            if turn:
                assert await shakes_hands(one, api.bundles()[0])
        bundles.add(len(split_bundle(api.bundles()[0])))
        clock.now += PUBLISHED_FOR / 4 if turn < 8 else timedelta(days=1)
    assert api.authority().current != first
    assert first.certificate_pem not in api.bundles()[0]
    assert bundles == {1, 2}
