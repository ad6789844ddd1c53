"""A network that loses every packet, and tells nobody: what no wire can pretend."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.localcluster import namespaces
from tests.localcluster.faults import carry
from tests.localcluster.postgres import PostgresServer
from tests.localcluster.processes import BedError, shim

PATIENCE = 100
# Whatever ends the tests ends it, too.
TIE = ("--parent", str(os.getpid()), "--death-signal", str(int(signal.SIGKILL)))


@pytest.fixture
def entered() -> list[str]:
    """The command that enters namespaces of its own."""
    try:
        return namespaces.enter()
    except BedError as error:
        pytest.skip(str(error))


async def test_session_whose_packets_are_lost_ends_whether_it_waits_or_asks(
    server: PostgresServer, entered: list[str]
) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection(server.host, server.port)
        await carry((reader, writer), far)

    with TemporaryDirectory() as directory:
        path = str(Path(directory) / "postgres")
        async with (
            await asyncio.start_unix_server(relay, path),
            asyncio.timeout(PATIENCE),
        ):
            program = [sys.executable, "-m", "tests.integration.lost_packets", path]
            process = await asyncio.create_subprocess_exec(
                *shim(*TIE, program=[*entered, *program]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                found, _ = await process.communicate(server.admin_dsn.encode())
            finally:
                # The namespaces end with it, and all that is in them.
                with suppress(ProcessLookupError):
                    process.kill()
    assert json.loads(found) == ["ServerUnreachable"] * 2
