"""Asking and waiting: ports, answers, conditions and the ends of logs."""

import contextlib
import http.client
import random
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

# Below Linux's range for outgoing connections (32768 and up), so that a port stays
# free while its process is restarted.
PORT_RANGE = range(10_000, 32_000)
POLL_SECONDS = 0.02
# The state of a listening socket in /proc/net/tcp.
LISTEN = "0A"


def wait_until(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Ask again and again until `condition` holds; False after `timeout` seconds.

    It rests as long as asking takes: what is waited for needs the processor too.
    """
    deadline = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        if condition():
            return True
        answered = time.monotonic()
        if answered > deadline:
            return False
        time.sleep(max(POLL_SECONDS, answered - asked))


def answers(url: str) -> bool:
    """Say whether an http, https or tcp URL answers (http: with 200)."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 0
    try:
        if parts.scheme == "tcp":
            socket.create_connection((host, port), timeout=2).close()
            return True
        connection = _http_connection(parts.scheme, host, port)
        try:
            connection.request("GET", parts.path)
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def read_page(url: str) -> str:
    """Return what an http or https URL answers with."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    # A page takes its time where the processor is scarce.
    connection = _http_connection(parts.scheme, host, port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", parts.path)
        return connection.getresponse().read().decode()


def listens(pid: int, url: str) -> bool:
    """Say whether this very process listens on a URL's port."""
    port = urllib.parse.urlsplit(url).port or 0
    net = Path(f"/proc/{pid}/net")
    try:
        # What listens on 0.0.0.0 may be in the second table, as Go's servers are.
        tables = [net / "tcp", net / "tcp6"]
        lines = [
            line
            for table in tables
            for line in table.read_text(encoding="ascii").splitlines()[1:]
        ]
        owned = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Columns: slot, local address, remote address, state, ..., inode (the tenth).
    rows = [line.split() for line in lines]
    listening = [
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port
    ]
    return not owned.isdisjoint(listening)


def _http_connection(
    scheme: str, host: str, port: int, *, timeout: float = 2
) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    # Only a process we started is asked, on loopback or in a pod of ours.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)


def free_ports(count: int) -> list[int]:
    """Return distinct ports of 127.0.0.1 that nothing listens on just now."""
    held: list[socket.socket] = []
    try:
        for port in random.sample(PORT_RANGE, k=len(PORT_RANGE)):
            if len(held) == count:
                break
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def tail(log: Path, *, lines: int = 40, offset: int = 0) -> str:
    """Return the last lines of a log, none of them before byte `offset`."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(offset)
        text = stream.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
