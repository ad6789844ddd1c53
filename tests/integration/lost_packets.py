"""Asking a server across a network that loses packets: a program, in namespaces.

`python -m tests.integration.lost_packets SOCKET` reads a DSN from its input. In its own
network namespace, which it must be the first in, it makes another one and a cable
between the two; there a relay passes connections on to SOCKET, until it is told to lose
all that it sends. What ended a statement under way by then, and one that was sent after
it, is written as JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import conninfo

from pg_operator.api.secret import SecretText
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.errors import PostgresError
from pg_operator.postgres.writing import LONGEST_STATEMENT
from tests.localcluster.faults import carry

NEAR, FAR = "10.9.0.1", "10.9.0.2"
PORT = 5432
SOON = 0.5  # seconds, in which a statement is surely sent


def ip(*arguments: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *arguments], check=True)


class FarSide:
    """The process at the other end of the cable."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self, words: str) -> None:
        """Wait until it says so."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line.decode().strip() == words, line

    async def lose_packets(self) -> None:
        """Have nothing come from there any more, not even an acknowledgement."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self.said("lost")


@asynccontextmanager
async def cable(path: str) -> AsyncIterator[FarSide]:
    """Make the other side, and have it pass connections on to a Unix socket."""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-m", __spec__.name, "--far", path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        far = FarSide(process)
        await far.said("apart")
        ends = ("near", "type", "veth", "peer", "name", "far")
        await asyncio.to_thread(ip, "link", "add", *ends)
        await asyncio.to_thread(ip, "link", "set", "far", "netns", str(process.pid))
        await asyncio.to_thread(ip, "addr", "add", f"{NEAR}/24", "dev", "near")
        await asyncio.to_thread(ip, "link", "set", "near", "up")
        assert process.stdin is not None
        process.stdin.write(b"\n")
        await far.said("listening")
        yield far
    finally:
        process.kill()
        await process.wait()


async def be_far(path: str) -> None:
    """Be the other side."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await carry((reader, writer), await asyncio.open_unix_connection(path))

    print("apart", flush=True)  # noqa: T201
    await lines.readline()
    await asyncio.to_thread(ip, "addr", "add", f"{FAR}/24", "dev", "far")
    await asyncio.to_thread(ip, "link", "set", "far", "up")
    async with await asyncio.start_server(relay, FAR, PORT):
        print("listening", flush=True)  # noqa: T201
        while await lines.readline():
            await asyncio.to_thread(ip, "route", "add", "blackhole", f"{NEAR}/32")
            print("lost", flush=True)  # noqa: T201


async def ask(dsn: str, path: str) -> list[str]:
    """Return the errors that end both statements."""
    text = conninfo.make_conninfo(dsn, host=FAR, hostaddr=FAR, port=PORT)
    parsed = parse_dsn(SecretText(text))
    connections = ServerConnections(parsed)
    ready, lost = asyncio.Barrier(3), asyncio.Event()

    async def sleep(*, wait: bool) -> str:
        try:
            async with connections.session() as connection:
                await connection.execute("SET statement_timeout TO 0")
                with connection.waiting_for(LONGEST_STATEMENT):
                    await ready.wait()
                    if wait:
                        await lost.wait()
                    await connection.execute("SELECT pg_catalog.pg_sleep(3600)")
        except PostgresError as error:
            return type(error).__name__
        return "nothing"

    async with cable(path) as far, asyncio.TaskGroup() as group:
        ends = [group.create_task(sleep(wait=wait)) for wait in (False, True)]
        await ready.wait()
        await asyncio.sleep(SOON)
        await far.lose_packets()
        lost.set()
        return [await end for end in ends]


if __name__ == "__main__":
    if sys.argv[1] == "--far":
        asyncio.run(be_far(sys.argv[2]))
    else:
        found = asyncio.run(ask(sys.stdin.read(), sys.argv[1]))
        print(json.dumps(found))  # noqa: T201
