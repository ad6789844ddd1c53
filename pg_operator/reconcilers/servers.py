"""The servers behind DatabaseClusters: one link each, opened once and shared."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.api.validation import refusal, validate_databasecluster
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.secrets import SecretError, SecretKeyNotFound
from pg_operator.plan.state import Server
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import Dsn, parse_dsn
from pg_operator.postgres.errors import (
    AuthenticationFailed,
    InvalidDSN,
    PostgresError,
)
from pg_operator.postgres.observe import observe_server
from pg_operator.postgres.tls import Certificates
from pg_operator.reconcilers.outcome import Object
from pg_operator.reconcilers.settings import Settings

Source = tuple[str, ...]


class Unavailable(Exception):
    """A DatabaseCluster's server cannot be used; says why, for its condition.

    With `terminal` set, nothing but a change of the object or its Secret helps.
    """

    def __init__(self, reason: Reason, message: str, *, terminal: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.terminal = terminal


@dataclass(frozen=True, slots=True)
class Link:
    """A probed server with its connections, and the DSN they are made from."""

    server: Server
    dsn: Dsn
    connections: ServerConnections
    source: Source


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    link: Link | None = None
    failure: Unavailable | None = None


class OnChange(Protocol):
    """Takes in that the objects of a DatabaseCluster should look again."""

    def __call__(self, cluster_name: str, /, *, outside: bool) -> None:
        """Have them look; `outside` if they were worked on just so all the time."""


class Servers:
    """Keeps one `Link` a DatabaseCluster and tells when it changes.

    `on_change` is called when the objects of a DatabaseCluster should look again (the
    server came back, or its DSN changed), `on_lost` with its name when the
    DatabaseCluster itself should (the server stopped answering). `may_write` is asked
    before every write on a server; with `read_only` the servers themselves refuse to
    write.
    """

    def __init__(
        self,
        *,
        kubernetes: Kubernetes,
        settings: Settings,
        on_change: OnChange,
        on_lost: Callable[[str], None],
        may_write: Callable[[], bool] = lambda: True,
        read_only: bool = False,
    ) -> None:
        self._kubernetes = kubernetes
        self._settings = settings
        self._on_change = on_change
        self._on_lost = on_lost
        self._may_write = may_write
        self._read_only = read_only
        self._entries: dict[str, _Entry] = {}

    async def connect(self, cluster: Object) -> Link:
        """Probe a DatabaseCluster's server by its Secret as it is now.

        Raises:
            Unavailable: the server cannot be used.
        """
        async with self._locked(cluster) as entry:
            return await self._renew(entry, cluster)

    async def link(self, cluster: Object) -> Link:
        """Return the link, probing first only when that was never done.

        Raises:
            Unavailable: the last probe failed; only the next one finds out more.
        """
        async with self._locked(cluster) as entry:
            if entry.failure is not None:
                # Raised many times: it would keep the frames of each.
                raise entry.failure.with_traceback(None)
            return entry.link or await self._renew(entry, cluster)

    def links(self) -> dict[str, Link]:
        """Return the links of the servers that answered the last probe, by name."""
        return {
            name: entry.link
            for name, entry in self._entries.items()
            if entry.link is not None and entry.failure is None
        }

    def lost(self, cluster_name: str) -> None:
        """Take note that a server did not answer; its objects wait from now on."""
        self._entry(cluster_name).failure = Unavailable(
            Reason.SERVER_UNREACHABLE,
            "the server stopped answering; it is tried again every few seconds",
            terminal=False,
        )
        self._on_lost(cluster_name)

    async def forget(self, cluster_name: str) -> None:
        """Close what belongs to a DatabaseCluster that is gone."""
        if entry := self._entries.pop(cluster_name, None):
            async with entry.lock:
                await _replace(entry.link)

    async def close_idle(self, *, older_than: float) -> None:
        """Close the connections that nobody has used for that many seconds."""
        for entry in tuple(self._entries.values()):
            if entry.link is not None:
                await entry.link.connections.close_idle(older_than=older_than)

    async def close(self) -> None:
        """Close every connection."""
        for name in tuple(self._entries):
            await self.forget(name)

    @asynccontextmanager
    async def _locked(self, cluster: Object) -> AsyncIterator[_Entry]:
        """Hold a DatabaseCluster's entry, which may be forgotten while one waits."""
        name = cluster["metadata"]["name"]
        while True:
            entry = self._entry(name)
            async with entry.lock:
                if self._entries.get(name) is entry:
                    yield entry
                    return

    def _entry(self, cluster_name: str) -> _Entry:
        return self._entries.setdefault(cluster_name, _Entry())

    async def _renew(self, entry: _Entry, cluster: Object) -> Link:
        """Probe, and tell the objects when what they were told is no longer true."""
        old = entry.link
        try:
            link = await self._probe(cluster, old)
        except Unavailable as unavailable:
            entry.link, entry.failure = None, unavailable
            if old is not None and unavailable.reason is Reason.SERVER_UNREACHABLE:
                # CREATE and DROP DATABASE would wait for it for hours.
                await old.connections.give_up()
            else:
                await _replace(old)
            raise
        # Only now: `lost` may have told objects to wait while the probe ran.
        failure = entry.failure
        entry.link, entry.failure = link, None
        if old is not None and old.connections is not link.connections:
            if old.dsn.address == link.dsn.address:
                # It answers there, so what is under way may end by itself.
                await old.connections.close()
            else:
                await _replace(old)
        if failure is not None or (old is not None and old.source != link.source):
            is_same = failure is None and old is not None and old.server == link.server
            self._on_change(cluster["metadata"]["name"], outside=is_same)
        return link

    async def _probe(self, cluster: Object, old: Link | None) -> Link:
        """Return a link by the Secret as it is; it may reuse the old connections."""
        dsn, source = await self._read_dsn(cluster)
        if old is not None and old.source == source:
            connections = old.connections
        else:
            limit = int(source[-1])
            connections = ServerConnections(
                dsn,
                max_connections=limit,
                may_write=self._may_write,
                read_only=self._read_only,
            )
            if old is not None and old.dsn.address == dsn.address:
                connections.join(old.connections)
        try:
            async with connections.session() as connection:
                server = await observe_server(connection)
                await connections.give_up_lost(connection)
        except PostgresError as error:
            await connections.close()
            raise _unavailable(error) from None
        if server.in_recovery:
            await connections.close()
            raise Unavailable(
                Reason.SERVER_IN_RECOVERY,
                "the server is a standby (in recovery) and takes no writes; "
                "point the DSN at the primary",
                terminal=False,
            )
        try:
            check_identity(cluster, server)
        except Unavailable:
            await connections.close()
            raise
        connections.expect(server.system_identifier)
        return Link(server=server, dsn=dsn, connections=connections, source=source)

    async def _read_dsn(self, cluster: Object) -> tuple[Dsn, Source]:
        """Return the DSN and what identifies it: Secret version and limits."""
        errors = validate_databasecluster(cluster).errors
        if errors:
            raise Unavailable(Reason.INVALID_SPEC, refusal(errors))
        spec = DatabaseClusterSpec.parse(cluster["spec"])
        name, key = spec.connection.name, spec.connection.key
        namespace = spec.connection.namespace or self._settings.namespace
        self._check_namespace(namespace)
        secret = await self._kubernetes.read_secret(namespace, name)
        if secret is None:
            raise Unavailable(
                Reason.SECRET_NOT_FOUND,
                f"Secret '{namespace}/{name}' does not exist; create it with the DSN "
                f"under key '{key}'",
            )
        try:
            dsn = parse_dsn(
                secret.text(key),
                allow_loopback=self._settings.allow_loopback_servers,
                certificates=Certificates.of_secret(secret.data),
            )
        except SecretKeyNotFound as error:
            raise Unavailable(Reason.SECRET_KEY_NOT_FOUND, str(error)) from None
        except SecretError as error:
            raise Unavailable(Reason.INVALID_DSN, str(error)) from None
        except InvalidDSN as error:
            message = f"the DSN in Secret '{namespace}/{name}' is refused: {error}"
            raise Unavailable(Reason.INVALID_DSN, message) from None
        version = secret.resource_version
        return dsn, (namespace, name, key, version, str(spec.max_connections))

    def _check_namespace(self, namespace: str) -> None:
        allowed = {self._settings.namespace, *self._settings.connection_namespaces}
        if namespace not in allowed:
            raise Unavailable(
                Reason.SECRET_NOT_ALLOWED,
                f"spec.connection.namespace '{namespace}' is not open to DSN Secrets; "
                f"put the Secret into '{self._settings.namespace}', or start the "
                f"controller with --connection-namespaces={namespace}",
            )


def check_identity(cluster: Object, server: Server) -> None:
    """Hold still on another server than the one that was worked on so far.

    Raises:
        Unavailable: it is another, and nobody said that this is right.
    """
    spec = DatabaseClusterSpec.parse(cluster["spec"])
    known = cluster.get("status", {}).get("server", {}).get("systemIdentifier")
    expected = spec.expected_system_identifier or known
    found = server.system_identifier
    if expected in {None, found}:
        return
    raise Unavailable(
        Reason.SERVER_CHANGED,
        f"the DSN leads to a server with system identifier {found}, and {expected} was "
        "expected; nothing is written or dropped there. Correct the DSN, or, if this "
        f"is the server to work on from now on, set spec.expectedSystemIdentifier to "
        f"'{found}'",
    )


async def _replace(link: Link | None) -> None:
    if link is not None:
        await link.connections.replace()


def _unavailable(error: PostgresError) -> Unavailable:
    """Say what is wrong with a server without its address or a password."""
    refused = isinstance(error, AuthenticationFailed)
    reason = Reason.AUTHENTICATION_FAILED if refused else Reason.SERVER_UNREACHABLE
    return Unavailable(reason, str(error), terminal=False)
