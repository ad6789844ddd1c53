"""The wire with faults: what a client sees of each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.localcluster.faults import HOST, Accident, Wire, in_thread

PATIENCE = 10.0
ENDED = (ConnectionError, asyncio.IncompleteReadError)
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that says what it is told, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = asyncio.Event()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one client."""
        try:
            while data := await reader.read(1024):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Wire, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(PATIENCE), Wire(HOST, port).laid() as wire:
        yield wire, echo


@asynccontextmanager
async def connected(wire: Wire) -> AsyncIterator[Ends]:
    reader, writer = await asyncio.open_connection(HOST, wire.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_wire_without_a_fault_carries_both_ways() -> None:
    async with wired() as (wire, _), connected(wire) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert wire.connections == 1


async def test_silent_wire_delivers_late() -> None:
    async with wired() as (wire, echo), connected(wire) as (reader, writer):
        wire.fault = "silent"
        writer.write(b"hello")
        reading = asyncio.create_task(reader.readexactly(5))
        await asyncio.wait({reading}, timeout=0.05)
        assert (reading.done(), echo.heard) == (False, b"")
        wire.fault = "none"
        assert await reading == b"hello"


@pytest.mark.parametrize(
    "break_it", [Wire.cut, lambda w: setattr(w, "fault", "refused")]
)
async def test_cut_or_refused_connection_ends(
    break_it: Callable[[Wire], None],
) -> None:
    async with wired() as (wire, _), connected(wire) as (reader, writer):
        writer.write(b"hello")
        await reader.readexactly(5)
        break_it(wire)
        with pytest.raises(ENDED):
            await reader.readexactly(1)


async def test_refusing_wire_lets_nothing_through() -> None:
    async with wired() as (wire, echo):
        wire.fault = "refused"
        async with connected(wire) as (reader, writer):
            writer.write(b"hello")
            with pytest.raises(ENDED):
                await reader.readexactly(1)
        assert echo.heard == b""


async def test_half_open_connection_is_over_for_the_server_only() -> None:
    async with wired() as (wire, echo), connected(wire) as (reader, writer):
        writer.write(b"hello")
        await reader.readexactly(5)
        wire.fault = "half-open"
        await echo.ended.wait()
        writer.write(b"anybody?")
        await writer.drain()
        reading = asyncio.create_task(reader.read(1))
        await asyncio.wait({reading}, timeout=0.05)
        assert not reading.done()
        reading.cancel()
        assert echo.heard == b"hello"


@pytest.mark.parametrize(
    ("accident", "heard"), [("cut before", b""), ("cut after", b"now!")]
)
async def test_connection_is_cut_before_or_after_what_was_said(
    accident: Accident, heard: bytes
) -> None:
    async with wired() as (wire, echo), connected(wire) as (reader, writer):
        wire.at(b"now", accident)
        writer.write(b"now!")
        with pytest.raises(ENDED):
            await reader.readexactly(4)
        await echo.ended.wait()
        assert echo.heard == heard


async def test_slow_wire_delivers() -> None:
    async with wired() as (wire, _), connected(wire) as (reader, writer):
        wire.delay = 0.01
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


def test_what_is_served_in_a_thread_ends_with_the_block() -> None:
    ended = []

    @asynccontextmanager
    async def make() -> AsyncIterator[str]:
        yield "made"
        ended.append(True)

    with in_thread(make) as made:
        assert (made, ended) == ("made", [])
    assert ended == [True]


def test_what_fails_to_begin_in_a_thread_is_raised() -> None:
    @asynccontextmanager
    async def fail() -> AsyncIterator[str]:
        raise OSError("no port")
        yield ""

    with pytest.raises(OSError, match="no port"), in_thread(fail):
        pass
