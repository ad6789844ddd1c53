"""A wire to a server that fails on purpose, between it and the operator.

What it carries it does not understand, so that it serves PostgreSQL and the API server
alike. What it cannot do is lose packets: to its peers the network is always there.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, Literal, TypeVar

HOST: Final = "127.0.0.1"
CHUNK: Final = 65536
END_SECONDS: Final = 10.0

Fault = Literal["none", "refused", "silent", "half-open"]
Accident = Literal["cut before", "cut after", "silent after", "half-open after"]
T = TypeVar("T")


class Wire:
    """A TCP wire to an address; every method may be called from any thread.

    `fault` is what is wrong with it now: all connections are `refused`, which closes
    them at once; or all is accepted and `silent`, until that ends and what was held
    back arrives; or the server has closed what the client still believes in
    (`half-open`). `delay` is how many seconds each piece takes.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clear = asyncio.Event()
        self._clear.set()
        self._pairs: set[_Pair] = set()
        self._fault: Fault = "none"
        self.delay = 0.0
        self._trap: tuple[bytes, Accident] | None = None
        self.port = 0
        self.connections = 0

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""
        return f"{HOST}:{self.port}"

    @property
    def fault(self) -> Fault:
        """What is wrong with it."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._call(self._take_effect)

    def at(self, words: bytes, accident: Accident) -> None:
        """Have an accident once, at the next piece from a client with these words."""
        self._trap = words, accident

    def is_due(self) -> bool:
        """Tell whether the accident is still to come."""
        return self._trap is not None

    def accident_of(self, data: bytes) -> Accident | None:
        """Return what is to happen at a piece; it does not happen again."""
        if self._trap is None or self._trap[0] not in data:
            return None
        (_, accident), self._trap = self._trap, None
        return accident

    def cut(self) -> None:
        """End all connections without a word."""
        self._call(self._abort_all)

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        """Accept connections inside the block."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._abort_all()

    async def passing(self) -> None:
        """Wait as long as the fault of the moment makes a piece wait."""
        if self.delay:
            await asyncio.sleep(self.delay)
        await self._clear.wait()

    def _call(self, what: Callable[[], None]) -> None:
        assert self._loop is not None, "it is not laid yet"
        self._loop.call_soon_threadsafe(what)

    def _take_effect(self) -> None:
        if self._fault == "silent":
            self._clear.clear()
        else:
            self._clear.set()
        if self._fault == "refused":
            self._abort_all()
        if self._fault == "half-open":
            for pair in self._pairs:
                pair.leave()

    def _abort_all(self) -> None:
        for pair in self._pairs:
            pair.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self._fault == "refused":
            writer.transport.abort()
            return
        await self.passing()
        try:
            far = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(self, (reader, writer), far)
        self._pairs.add(pair)
        try:
            await pair.carry()
        finally:
            self._pairs.discard(pair)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """One connection over the wire: that of the client, and that to the server."""

    def __init__(self, wire: Wire, near: Ends, far: Ends) -> None:
        self._wire = wire
        self._near = near
        self._far = far
        self._is_left = False

    async def carry(self) -> None:
        """Pass everything on, until an end closes."""
        try:
            await asyncio.gather(self._there(), self._back())
        except OSError:
            self.abort()
        finally:
            for _, writer in (self._near, self._far):
                writer.close()

    def abort(self) -> None:
        """Cut both ends."""
        for _, writer in (self._near, self._far):
            writer.transport.abort()

    def leave(self) -> None:
        """Have the server see an end of which the client hears nothing."""
        self._is_left = True
        self._far[1].transport.abort()

    async def _there(self) -> None:
        reader, writer = self._near[0], self._far[1]
        while data := await reader.read(CHUNK):
            if self._is_left:
                continue
            accident = self._wire.accident_of(data)
            if accident == "cut before":
                self.abort()
                return
            await self._wire.passing()
            writer.write(data)
            await writer.drain()
            if accident == "silent after":
                self._wire.fault = "silent"
            if accident == "half-open after":
                self.leave()
            if accident == "cut after":
                # In an order that lets what was written go out.
                writer.close()
                self._near[1].transport.abort()
                return
        writer.close()

    async def _back(self) -> None:
        reader, writer = self._far[0], self._near[1]
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._wire.passing()
                writer.write(data)
                await writer.drain()
        if not self._is_left:
            writer.close()


async def carry(near: Ends, far: Ends) -> None:
    """Pass on what two connections say to each other, until they end."""
    await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Have a loop in a thread of its own inside the block, and what it enters there."""
    ready, stop = threading.Event(), asyncio.Event()
    made: list[T] = []
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with make() as thing:
            made.append(thing)
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 (raised to who waits)
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="faults", daemon=True)
    thread.start()
    ready.wait()
    try:
        if failures:
            raise failures[0]
        yield made[0]
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join(END_SECONDS)
