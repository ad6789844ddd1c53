"""Where a checkout keeps its beds, and clearing up after those that crashed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.localcluster import spawn
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.postgres_files import remove_directory
from tests.localcluster.processes import Supervisor, runs

LOCAL = CHECKOUT / ".local"
KEPT_RUNS = 6


@contextmanager
def run_directory(parent: Path) -> Iterator[Path]:
    """Give a test run its own directory, after clearing up what earlier runs left.

    The logs of the last runs stay.
    """
    clear_runs(parent)
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    directory = parent / f"{started}-{os.getpid()}"
    directory.mkdir(parents=True)
    spawn.write_pid_file(directory / "owner.pid", os.getpid())
    yield directory


def clear_runs(parent: Path) -> None:
    """End and remove what runs left whose program is gone; keep the newest logs."""
    if not parent.exists():
        return
    ended = [run for run in sorted(parent.iterdir()) if not runs(run / "owner.pid")]
    for run in ended:
        clear_state(run / "state")
    for run in ended[:-KEPT_RUNS]:
        shutil.rmtree(run, ignore_errors=True)


def clear_state(state: Path) -> list[str]:
    """End the processes of a bed and remove its files; return what still ran."""
    ended = Supervisor(state / "processes", tied=False).stop_all()
    remove_directory(state)
    return ended
