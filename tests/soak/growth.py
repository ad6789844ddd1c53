"""What processes hold while they live on, and whether it grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.usage import open_files, resident_megabytes
from tests.cluster.objects import administer
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.postgres import ADMIN

MOST_SESSIONS: Final = 4  # maxConnections, unless a DatabaseCluster says otherwise
MOST_MORE_MEGABYTES: Final = 16.0
MOST_MORE_FILES: Final = 10
# Of log for each action: its Events, resyncs and what an outage brings.
MOST_LOG_BYTES: Final = 40_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The controller and the webhook at one moment, when everything agreed."""

    actions: int
    megabytes: tuple[float, float]
    files: tuple[int, int]
    sessions: int
    log_bytes: int

    def __str__(self) -> str:
        controller, webhook = self.megabytes
        return (
            f"{self.actions} actions: controller {controller:.0f} MB with "
            f"{self.files[0]} files, webhook {webhook:.0f} MB with {self.files[1]} "
            f"files, {self.sessions} sessions, {self.log_bytes:,} bytes of log"
        )


def sample(bed: LocalCluster, *, actions: int) -> Sample:
    """Look at both processes now, and at their logs."""
    controller, webhook = bed.controller.pid, bed.webhook.pid
    assert controller is not None
    assert webhook is not None
    query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'"
    ((sessions,),) = administer(bed, "postgres", query)
    logs = (bed.controller.component.log, bed.webhook.component.log)
    return Sample(
        actions=actions,
        megabytes=(resident_megabytes(controller), resident_megabytes(webhook)),
        files=(open_files(controller), open_files(webhook)),
        sessions=sessions,
        log_bytes=sum(log.stat().st_size for log in logs),
    )


def growth(samples: Sequence[Sample]) -> list[str]:
    """Say what is more at the end than after the first of the samples."""
    if not samples:
        return ["there was no time to see whether anything grows"]
    first, last = samples[0], samples[-1]
    problems = [
        f"{many} sessions of the operator's, {MOST_SESSIONS} are allowed"
        for many in (one.sessions for one in samples)
        if many > MOST_SESSIONS
    ]
    for number, name in enumerate(("controller", "webhook")):
        more = last.megabytes[number] - first.megabytes[number]
        if more > MOST_MORE_MEGABYTES:
            problems.append(f"the {name} grew by {more:.0f} MB")
        files = last.files[number] - first.files[number]
        if files > MOST_MORE_FILES:
            problems.append(f"the {name} has {files} more files open")
    actions = last.actions - first.actions
    logged = last.log_bytes - first.log_bytes
    if logged > MOST_LOG_BYTES * actions:
        problems.append(f"{logged:,} bytes of log for {actions} actions")
    return problems
