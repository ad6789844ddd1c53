"""Starting, finding and ending the processes of one bed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.localcluster import spawn
from tests.localcluster.probes import (
    answers,
    free_ports,
    listens,
    tail,
    wait_until,
)

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ")


class BedError(Exception):
    """Something the bed needs is missing or failed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Component:
    """One program of a bed, complete enough to be started again from a file."""

    name: str
    argv: tuple[str, ...]
    log: Path
    address: str = ""
    ready_url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    stop_signal: int = signal.SIGKILL
    death_signal: int = signal.SIGKILL

    def to_json(self) -> str:
        """Return the component as text for its file."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(values | {"log": str(self.log)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Component":
        """Return the component that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        return cls(
            **values | {"argv": tuple(values["argv"]), "log": Path(values["log"])}
        )


class Process:
    """A running component, known by pid and start time."""

    def __init__(
        self,
        component: Component,
        *,
        pid: int,
        identity: str,
        child: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """Stand for the process `pid`; `child` when this program started it."""
        self.component = component
        self.pid = pid
        self._identity = identity
        self._child = child

    def alive(self) -> bool:
        """Say whether the program still runs, under its own pid."""
        if self._child is not None:
            return self._child.poll() is None
        return spawn.identity(self.pid) == self._identity

    def send(self, number: int) -> None:
        """Send a signal, never to another process that got the same pid since."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def wait_gone(self, *, timeout: float) -> bool:
        """Wait until it has ended; False when it has not within `timeout` seconds."""
        return wait_until(lambda: not self.alive(), timeout=timeout)

    def stop(self, *, grace: float = 15.0) -> None:
        """End it with its own stop signal, and SIGKILL after `grace` seconds."""
        self.send(self.component.stop_signal)
        if not self.wait_gone(timeout=grace):
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self.send(signal.SIGKILL)
        if not self.wait_gone(timeout=10):
            raise BedError(f"{self.component.name} (pid {self.pid}) outlived SIGKILL")


class Supervisor:
    """The processes of one bed, with their records in one directory."""

    def __init__(self, directory: Path, *, tied: bool) -> None:
        """Keep records in `directory`; `tied` processes end with this program."""
        self._directory = directory
        self._tied = tied
        # The kernel's death signal follows the *thread* that started a process, so
        # all are started by one thread that lives as long as this program.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="bed-starter")
        self._processes: dict[str, Process] = {}

    def start(self, component: Component) -> Process:
        """Start a component whose predecessor of that name, if any, has ended."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        component.log.parent.mkdir(parents=True, exist_ok=True)
        record = self._directory / f"{component.name}.json"
        record.write_text(component.to_json(), encoding="utf-8")
        child = self._starter.submit(self._spawn, component).result()
        wait_until(lambda: self._begun(component.name, child), timeout=10)
        identity = spawn.identity(child.pid) or "ended"
        process = Process(component, pid=child.pid, identity=identity, child=child)
        self._processes[component.name] = process
        return process

    def start_ready(
        self, build: Callable[[Sequence[int]], Component], *, ports: int, timeout: float
    ) -> Process:
        """Start what `build` makes of free ports and wait until it is ready.

        Takes other ports when one was taken in between. Raises BedError with the end
        of the log when the program ends or is not ready within `timeout` seconds.
        """
        for _ in range(5):
            component = build(free_ports(ports))
            offset = component.log.stat().st_size if component.log.exists() else 0
            process = self.start(component)
            if wait_ready(process, timeout=timeout):
                return process
            ended = not process.alive()
            process.kill()
            said = tail(component.log, offset=offset)
            if not (ended and "address already in use" in said.lower()):
                raise BedError(
                    f"{component.name} did not become ready; the end of"
                    f" {component.log}:\n{said}"
                )
        raise BedError(f"no free port for {component.name} after 5 attempts")

    def restart(self, name: str, *, timeout: float = 30.0) -> Process:
        """Start a recorded component again, same command and ports, until ready."""
        component = self.recorded(name)
        if component is None:
            raise BedError(f"there is no record of {name}")
        known = read_pid_file(self._pid_file(name))
        if known is not None:
            # PostgreSQL takes a pid for its predecessor as long as it is not reaped.
            before = Path(f"/proc/{known[0]}")
            wait_until(lambda: not before.exists(), timeout=5)
        offset = component.log.stat().st_size if component.log.exists() else 0
        process = self.start(component)
        if not wait_ready(process, timeout=timeout):
            process.kill()
            said = tail(component.log, offset=offset)
            raise BedError(f"{name} did not become ready again:\n{said}")
        return process

    def recorded(self, name: str) -> Component | None:
        """Return the component last started under `name`, running or not."""
        record = self._directory / f"{name}.json"
        if not record.exists():
            return None
        return Component.from_json(record.read_text(encoding="utf-8"))

    def components(self) -> tuple[Component, ...]:
        """Return every recorded component in the order of their first start."""
        records = sorted(
            self._directory.glob("*.json"), key=lambda path: path.stat().st_mtime_ns
        )
        return tuple(
            Component.from_json(record.read_text(encoding="utf-8"))
            for record in records
        )

    def find(self, name: str) -> Process | None:
        """Return the living process of that name, also of an earlier program."""
        process = self._processes.get(name)
        if process is None:
            process = self._from_record(name)
        return process if process is not None and process.alive() else None

    def stop_all(self, *, grace: float = 15.0) -> list[str]:
        """End everything and forget it; return the names that still ran."""
        living = [
            process
            for component in self.components()
            if (process := self.find(component.name)) is not None
        ]
        # What ends gracefully may need the others for it, so it goes first.
        graceful = [p for p in living if p.component.stop_signal == signal.SIGTERM]
        others = [process for process in living if process not in graceful]
        for group in (graceful, others):
            with ThreadPoolExecutor(max(1, len(group))) as stoppers:
                list(stoppers.map(lambda process: process.stop(grace=grace), group))
        self._starter.shutdown()
        shutil.rmtree(self._directory, ignore_errors=True)
        return [process.component.name for process in living]

    def _spawn(self, component: Component) -> "subprocess.Popen[bytes]":
        options = ["--pid-file", str(self._pid_file(component.name))]
        if component.user:
            options += ["--user", component.user]
        if self._tied:
            options += ["--parent", str(os.getpid())]
            options += ["--death-signal", str(int(component.death_signal))]
        with component.log.open("ab") as log:
            return subprocess.Popen(
                shim(*options, program=component.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment(component.environment),
                start_new_session=True,
            )

    def _begun(self, name: str, child: "subprocess.Popen[bytes]") -> bool:
        known = read_pid_file(self._pid_file(name))
        recorded = known is not None and known[0] == child.pid
        return recorded or child.poll() is not None

    def _pid_file(self, name: str) -> Path:
        return self._directory / f"{name}.pid"

    def _from_record(self, name: str) -> Process | None:
        component = self.recorded(name)
        known = read_pid_file(self._pid_file(name))
        if component is None or known is None:
            return None
        return Process(component, pid=known[0], identity=known[1])


def shim(*options: str, program: Sequence[str]) -> list[str]:
    """Return the command that runs `program` through tests/localcluster/spawn.py."""
    python = [sys.executable, "-I", "-S", "-B", str(Path(spawn.__file__).resolve())]
    return [*python, *options, "--", *program]


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of this checkout, from any directory."""
    checkout = str(Path(__file__).resolve().parents[2])
    start = f"import runpy, sys; sys.path.insert(0, {checkout!r})"
    code = f"{start}; runpy.run_module({module!r}, run_name='__main__')"
    return (sys.executable, "-c", code, *arguments)


def environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Return a bare environment: no proxy, PG* or KUBE* variable gets through."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | dict(additions)


def read_pid_file(path: Path) -> tuple[int, str] | None:
    """Return pid and identity from a pid file, None when there is none."""
    try:
        pid, _, identity = path.read_text(encoding="utf-8").strip().partition(" ")
    except FileNotFoundError:
        return None
    return int(pid), identity


def runs(pid_file: Path) -> bool:
    """Say whether the very process that a pid file names still runs."""
    known = read_pid_file(pid_file)
    return known is not None and spawn.identity(known[0]) == known[1]


def wait_ready(process: Process, *, timeout: float) -> bool:
    """Wait until the component answers; False when it ended or did not in time.

    One without a ready_url is ready as long as it runs.
    """
    url = process.component.ready_url
    if not url:
        return process.alive()

    def ready() -> bool:
        # Who answers may be somebody else's process that was first at this port.
        return answers(url) and listens(process.pid, url)

    ended_or_ready = wait_until(lambda: not process.alive() or ready(), timeout=timeout)
    return ended_or_ready and process.alive()
