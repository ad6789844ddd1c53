"""Which of several controllers works: the one that holds the Lease, until it is late.

A leader renews every 2 s, and stops writing 10 s after the sending of its last renewal
that succeeded. Others take over 15 s after they last saw one, or at once when it was
given up. Each counts on its own clock, one that also runs while the machine sleeps;
nobody compares times of two machines.
"""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol, Self

from pg_operator.kube.errors import Conflict, KubernetesError, NotFound
from pg_operator.kube.lease import Lease

logger = logging.getLogger(__name__)

LEASE_NAME: Final = "pg-operator-controller"
LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
REQUEST_SECONDS: Final = 5.0


class LeadershipLost(Exception):
    """Another process may work by now; this one must end."""


def log_end(error: Exception) -> None:
    """Say why the process ends: in one line where others are to take over anyway."""
    lost, others = ExceptionGroup("ended", [error]).split(LeadershipLost)
    if lost is None or others is not None:
        logger.error("Cannot go on", exc_info=error)
        return
    first: Exception = lost
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    logger.warning("The leadership is lost, and this process ends: %s", first)


class Lock(Protocol):
    """What is fought for; every method raises KubernetesError."""

    async def read(self) -> Lease:
        """Return it as it is."""

    async def create(self, holder: str, *, seconds: float) -> Lease:
        """Make it, held."""

    async def write(
        self, lease: Lease, holder: str, *, seconds: float, settled_by: str = ""
    ) -> Lease:
        """Change what is as it was read."""

    async def next(self, lease: Lease, *, seconds: float) -> Lease | None:
        """Wait for its next version."""


class Elector:
    """One candidate. `clock` is in seconds, `pause` waits that many."""

    def __init__(
        self,
        lock: Lock,
        *,
        identity: str,
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._lock = lock
        self._identity = identity
        self._clock = clock
        self._pause = pause
        # The Lease as last seen, since when it has been that version, and whether it
        # may be another by now.
        self._lease: Lease | None = None
        self._seen_at = 0.0
        self._is_stale = True
        self._renewed_at = float("-inf")

    def is_leading(self) -> bool:
        """Tell whether nobody else can have taken over yet."""
        return self._clock() < self._renewed_at + RENEW_SECONDS

    @classmethod
    def of_process(cls, lock: Lock) -> Self:
        """Return this process's candidate."""
        return cls(
            lock,
            # In a pod the host's name is the pod's, which alone may come again.
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        )

    async def acquire(self) -> str:
        """Wait until this process leads; return the `settled_by` of who led before.

        It is empty unless that one gave the leadership up with it.
        """
        left = ""
        while not self.is_leading():
            try:
                if self._is_stale:
                    await self._read()
                lease = self._lease
                if lease is None or self._is_free(lease):
                    left = "" if lease is None else lease.settled_by
                    await self._write()
                else:
                    await self._watch(lease)
            except Conflict:
                self._is_stale = True
            except (KubernetesError, TimeoutError) as error:
                logger.warning("Cannot take part in the election: %s", error)
                self._is_stale = True
                await self._pause(RETRY_SECONDS)
        logger.info("Leading as %s", self._identity)
        return left

    async def keep(self) -> NoReturn:
        """Renew for as long as this process leads.

        Raises:
            LeadershipLost: somebody else leads, or might.
        """
        while True:
            await self._pause(RETRY_SECONDS)
            if not self.is_leading():
                raise LeadershipLost(f"no renewal in {RENEW_SECONDS:.0f} s")
            try:
                await self._renew()
            except (KubernetesError, TimeoutError) as error:
                logger.warning("Cannot renew the leadership: %s", error)

    async def release(self, *, settled_by: str = "") -> None:
        """Let others take over at once; only after the last write.

        `settled_by` is for the next leader, and says that nothing was left to do.
        """
        if self._lease is None or not self.is_leading():
            return
        self._renewed_at = float("-inf")
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await self._lock.write(
                    self._lease, "", seconds=1, settled_by=settled_by
                )
        except (KubernetesError, TimeoutError) as error:
            logger.warning("Cannot give the leadership up: %s", error)

    async def _renew(self) -> None:
        """Renew once; a Lease that was only touched or deleted is still ours.

        Raises:
            LeadershipLost: somebody else leads.
            KubernetesError: unknown; it is tried again.
        """
        try:
            await self._write()
        except (Conflict, NotFound):
            await self._read()
            if self._lease is not None and self._lease.holder != self._identity:
                raise LeadershipLost("another controller took over") from None
            await self._write()

    async def _write(self) -> None:
        """Be the holder of what is as it was seen, from the moment of asking on."""
        sent_at = self._clock()
        async with asyncio.timeout(REQUEST_SECONDS):
            if self._lease is None:
                write = self._lock.create(self._identity, seconds=LEASE_SECONDS)
            else:
                write = self._lock.write(
                    self._lease, self._identity, seconds=LEASE_SECONDS
                )
            self._see(await write)
        self._renewed_at = sent_at

    async def _read(self) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            try:
                self._see(await self._lock.read())
            except NotFound:
                self._see(None)

    async def _watch(self, lease: Lease) -> None:
        """Wait for a change, or until the holder must have stopped."""
        left = max(0.1, self._seen_at + LEASE_SECONDS - self._clock())
        self._see(await self._lock.next(lease, seconds=left) or lease)

    def _see(self, lease: Lease | None) -> None:
        """Take note of it; only another version is a sign of life."""
        if lease != self._lease:
            self._seen_at = self._clock()
        self._lease = lease
        self._is_stale = False

    def _is_free(self, lease: Lease) -> bool:
        expired = self._clock() >= self._seen_at + LEASE_SECONDS
        return not lease.holder or expired
