"""What processes use, as /proc says: processor time, memory, files."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.localcluster.cluster import LocalCluster

SERVERS: Final = ("kube-apiserver", "etcd", "postgres")
PROCESSES: Final = ("controller", "webhook", *SERVERS)


Processors = Mapping[tuple[str, int], float]
"""The processor time of processes since they began, by their names and pids."""


def processor_seconds(bed: LocalCluster) -> Processors:
    """Return the processor time of the processes of a bed.

    PostgreSQL's is that of all its processes.
    """
    return {(name, pid): cpu_seconds(pid) for name, pid in pids(bed).items()}


def pids(bed: LocalCluster) -> dict[str, int]:
    """Return the pids of those that run."""
    own = {"controller": bed.controller.pid, "webhook": bed.webhook.pid}
    found = own | {name: bed.pid_of(name) for name in SERVERS}
    return {name: pid for name, pid in found.items() if pid is not None}


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, of its children and of those it had."""
    own, reaped = _ticks(pid)
    living = sum(sum(_ticks(child)) for child in children(pid))
    return (own + reaped + living) / os.sysconf("SC_CLK_TCK")


def difference(after: Processors, before: Processors) -> dict[str, float]:
    """Return how much more each used; what began in between counts whole."""
    return {
        name: value - before.get((name, pid), 0.0)
        for (name, pid), value in after.items()
    }


def resident_megabytes(pid: int) -> float:
    """Return how much memory a process has resident, in MB."""
    return _status(pid, "VmRSS")


def peak_megabytes(pid: int) -> float:
    """Return the most that it ever had resident, in MB."""
    return _status(pid, "VmHWM")


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children(pid: int) -> Iterator[int]:
    """Yield the living children of a process."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text(encoding="ascii").split())


def _ticks(pid: int) -> tuple[int, int]:
    """Return the ticks of a process and of its ended children; none of one gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    # The fields after the program's name, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def _status(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024
