"""Takes guards out of a copy of the checkout, one at a time, and runs their tests."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from tests.guards.table import CHECKOUT, Guard, read_table, taken_out
from tests.guards.verdict import Cases, complaint, name_of, read_report, sound
from tests.localcluster.postgres_packages import packaged_programs
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress, duration

# Seconds for the tests of one guard. Taking one out may well make a test wait.
PATIENCE: Final = 600
PATIENCE_BEFORE: Final = 3600
LONG_ENOUGH: Final = 30  # to tell that a test hangs


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the checkout's tracked files, whose tests are run."""

    root: Path
    moments: Iterator[int] = field(default_factory=lambda: count(1))

    @contextmanager
    def without(self, guard: Guard) -> Iterator[None]:
        """Take a guard out of the copy until the block ends."""
        path = self.root / guard.file
        whole = path.read_text(encoding="utf-8")
        self._write(path, taken_out(guard, whole))
        try:
            yield
        finally:
            self._write(path, whole)

    def _write(self, path: Path, text: str) -> None:
        """Write a file with a date of its own: by that compiled ones are told."""
        path.write_text(text, encoding="utf-8")
        moment = next(self.moments)
        os.utime(path, (moment, moment))

    def run(
        self,
        node_ids: Collection[str],
        *,
        server: str,
        patience: float,
        options: Sequence[str] = (),
    ) -> Mapping[str, Cases]:
        """Run tests, over TLS where a server is named; return how they ended."""
        report = self.root / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        further = {"PGOP_PG_BIN": server, "PGOP_PG_TLS": "1"} if server else {}
        try:
            subprocess.run(
                [*command, *options, f"--junitxml={report}", *sorted(node_ids)],
                cwd=self.root,
                env={**os.environ, "PYTHONPATH": str(self.root), **further},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {}
        return read_report(report)


def copied(checkout: Path, root: Path) -> Copy:
    """Copy the tracked files of a checkout, as they are in its working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=checkout, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = checkout / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return Copy(root)


def main(traps: Sequence[str]) -> int:
    """Prove the guards of some traps, or of all; return a status."""
    progress = Progress(sys.stdout)
    table = read_table()
    for trap in sorted(table.reasons.keys() & set(traps)):
        progress.say(f"trap {trap}: nothing to take out: {table.reasons[trap]}")
    if unknown := set(traps) - table.traps:
        progress.say(f"In no table of tests/guards: {', '.join(sorted(unknown))}")
        return 1
    guards = table.of(set(traps))
    if not guards:
        return 0
    with tempfile.TemporaryDirectory(prefix="pgop-guards-") as directory:
        try:
            return prove(guards, copied(CHECKOUT, Path(directory)), progress)
        except BedError as error:
            progress.say(str(error))
            return 1


def prove(guards: Sequence[Guard], copy: Copy, progress: Progress) -> int:
    """Take out each guard; say how many were missed by their tests."""
    started = time.monotonic()
    servers = {
        version: str(packaged_programs(version, progress)) if version else ""
        for version in {guard.on for guard in guards}
    }
    for version, server in sorted(servers.items()):
        tests = {t for one in guards if one.on == version for t in one.node_ids}
        where = f" on PostgreSQL {version}" if version else ""
        with progress.step(f"{len(tests)} tests with every guard in place{where}"):
            report = copy.run(tests, server=server, patience=PATIENCE_BEFORE)
        if wrong := sound({t.removeprefix("tests/") for t in tests}, report):
            progress.say(wrong)
            return 1
    survivors = []
    for number, guard in enumerate(guards, start=1):
        with progress.step(f"{number} of {len(guards)}: {_said(guard)}"):
            report = _without(guard, copy, server=servers[guard.on])
        if why := complaint(guard.tests, report, hangs=guard.hangs):
            survivors.append(guard)
            progress.say(f"  NOT PROVEN: {why}")
            continue
        for test in guard.tests:
            words = report[test.partition("[")[0]].words
            progress.say(f"  {name_of(test)} failed, as it must: {words}")
    took = duration(time.monotonic() - started)
    killed = len(guards) - len(survivors)
    progress.say(f"{killed} of {len(guards)} guards are missed by their tests ({took})")
    for guard in survivors:
        progress.say(f"NOT PROVEN: {_said(guard)}")
    return 1 if survivors else 0


def _without(guard: Guard, copy: Copy, *, server: str) -> Mapping[str, Cases]:
    """Run a guard's tests while it is out."""
    options = (f"--timeout={LONG_ENOUGH}",) if guard.hangs else ()
    with copy.without(guard):
        return copy.run(
            guard.node_ids, server=server, patience=PATIENCE, options=options
        )


def _said(guard: Guard) -> str:
    label = f"trap {guard.trap}" if guard.trap.isdecimal() else guard.trap
    where = f" (PostgreSQL {guard.on})" if guard.on else ""
    return f"{label}: {guard.what}, out of {guard.file}{where}"
