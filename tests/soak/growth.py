"""What processes hold while they live on, and whether it grows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.usage import open_files, resident_megabytes
from tests.cluster.objects import administer
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.postgres import ADMIN
from tests.soak.actions import Scene

MOST_SESSIONS: Final = 4  # maxConnections, unless a DatabaseCluster says otherwise
MOST_MORE_MEGABYTES: Final = 16.0
MOST_MORE_FILES: Final = 10
# Of log for each step: its Events, resyncs and what an outage brings.
MOST_LOG_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds."""

    pid: int
    megabytes: float
    files: int

    def __str__(self) -> str:
        return f"{self.megabytes:.0f} MB, {self.files} files"


@dataclass(frozen=True, slots=True)
class Sample:
    """The operator's processes by name at one moment, when everything agreed."""

    steps: int
    held: Mapping[str, Held]
    sessions: int
    log_bytes: int

    def __str__(self) -> str:
        held = "; ".join(f"{name} {held}" for name, held in self.held.items())
        return (
            f"{self.steps} steps; {held}; {self.sessions} sessions, "
            f"{self.log_bytes:,} bytes of log"
        )


def sample(scene: Scene, *, steps: int) -> Sample:
    """Look at all processes now, and at their logs."""
    processes = operator_processes(scene)
    query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'"
    ((sessions,),) = administer(scene.bed, "postgres", query)
    logs = [process.component.log for process in processes]
    return Sample(
        steps=steps,
        held=dict(_held(processes)),
        sessions=sessions,
        log_bytes=sum(log.stat().st_size for log in logs),
    )


def operator_processes(scene: Scene) -> list[OperatorProcess]:
    """Return the controllers and the webhook."""
    return [*(one.process for one in scene.candidates), scene.bed.webhook]


def _held(processes: Sequence[OperatorProcess]) -> Iterator[tuple[str, Held]]:
    for process in processes:
        pid = process.pid
        if pid is not None:
            held = Held(pid, resident_megabytes(pid), open_files(pid))
            yield process.component.name, held


def growth(samples: Sequence[Sample]) -> list[str]:
    """Say what is more in the last sample of a process than in the first."""
    if len(samples) < 2:
        return ["there was no time to see whether anything grows"]
    problems = [
        f"{one.sessions} sessions of the operator's, {MOST_SESSIONS} are allowed"
        for one in samples
        if one.sessions > MOST_SESSIONS
    ]
    for name in samples[0].held:
        problems += _growth_of(name, [s.held[name] for s in samples if name in s.held])
    steps = samples[-1].steps - samples[0].steps
    logged = samples[-1].log_bytes - samples[0].log_bytes
    if logged > MOST_LOG_BYTES * steps:
        problems.append(f"{logged:,} bytes of log for {steps} steps")
    return problems


def _growth_of(name: str, found: Sequence[Held]) -> Iterator[str]:
    """Say how the longest-lived of the processes of a name has grown."""
    ((pid, times),) = Counter(held.pid for held in found).most_common(1)
    if 2 * times < len(found):
        yield f"no {name} lived long enough to see whether it grows"
    lived = [held for held in found if held.pid == pid]
    megabytes = lived[-1].megabytes - lived[0].megabytes
    if megabytes > MOST_MORE_MEGABYTES:
        yield f"{name} grew by {megabytes:.0f} MB"
    files = lived[-1].files - lived[0].files
    if files > MOST_MORE_FILES:
        yield f"{name} has {files} more files open"
