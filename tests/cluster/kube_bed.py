"""The Kubernetes adapter beside the operator, with the controller's own rights."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.services import ServiceOwner
from tests.cluster.objects import database, documents
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import Identity


@asynccontextmanager
async def connected(
    cluster: LocalCluster, identity: Identity | None = None
) -> AsyncIterator[Kubernetes]:
    """Connect as the controller, or as somebody else."""
    plane = cluster.control_plane
    kubeconfig = plane.operator_kubeconfig(identity or plane.controller)
    async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
        yield kubernetes


def make_owner(kubectl: Kubectl, namespace: str, suffix: str) -> ServiceOwner:
    """Make a Database, whose DatabaseCluster is missing: the operator leaves it be.

    The garbage collector deletes what only owners that do not exist own.
    """
    name = f"{namespace}-{suffix}"
    kubectl.apply(documents(database(name, f"{namespace}-missing")))
    return ServiceOwner(name, kubectl.get("database", name)["metadata"]["uid"])


class Wire:
    """A TCP wire to the API server that can be cut, or be `out_of_order`."""

    def __init__(self, host: str, port: int) -> None:
        """Lead to an address."""
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""
        self.connections = 0
        self.out_of_order = False

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        """Accept connections inside the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"https://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """End all connections without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self.out_of_order:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def connected_by_wire(
    cluster: LocalCluster, directory: Path
) -> AsyncIterator[tuple[Kubernetes, Wire]]:
    """Connect as the controller over a wire that can be cut."""
    plane = cluster.control_plane
    target = urlsplit(plane.url)
    assert target.hostname is not None
    assert target.port is not None
    async with Wire(target.hostname, target.port).laid() as wire:
        text = plane.operator_kubeconfig(plane.controller).read_text(encoding="utf-8")
        assert plane.url in text
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(text.replace(plane.url, wire.address), encoding="utf-8")
        async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
            yield kubernetes, wire
