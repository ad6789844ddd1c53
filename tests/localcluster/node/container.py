"""One container: a process with its own root, made of binds, in its pod's network.

The program runs as the image's user without any capability, and its pid is the pid of
what this starts: nothing stands in between.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What a root file system of a Python image has, as far as the host's own can stand in.
SYSTEM = ("bin", "lib", "lib64", "sbin")
DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the node at a path of the container."""

    source: Path
    path: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything a container's process is started from."""

    hostname: str
    network: Path
    root: Path
    argv: Sequence[str]
    environment: Mapping[str, str]
    uid: int
    gid: int
    workdir: str
    mounts: Sequence[Mount]
    files: Mapping[str, str]
    read_only_root: bool
    log: Path


class Container:
    """A running container process."""

    def __init__(self, spec: ContainerSpec) -> None:
        """Start the process; `spec.root` is a directory to build its root on."""
        spec.root.mkdir(parents=True, exist_ok=True)
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        command = [
            *("nsenter", f"--net={spec.network}", "--"),
            *("unshare", "--mount", "--uts", "--propagation", "private", "--"),
            *("sh", "-ec", script(spec)),
        ]
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The pid of the program itself."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return how it ended (128 + the signal, as a runtime says), None if not."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self._process.wait()


def script(spec: ContainerSpec) -> str:
    """Return the shell script that builds the root and becomes the program."""
    lines = [
        f"hostname {shlex.quote(spec.hostname)}",
        f"mount -t tmpfs -o size=16m,mode=755 container {quoted(spec.root)}",
        f"cd {quoted(spec.root)}",
        *_system(),
        *_files(spec.files),
    ]
    for mount in spec.mounts:
        lines += _bind(mount.source, mount.path, read_only=mount.read_only)
    if spec.read_only_root:
        lines.append(f"mount -o remount,bind,ro {quoted(spec.root)}")
    variables = [f"{name}={value}" for name, value in spec.environment.items()]
    program = shlex.join([*variables, *spec.argv])
    user = f"--map-user={spec.uid} --map-group={spec.gid}"
    lines += [
        "pivot_root . .",
        "umount -l .",
        f"cd {shlex.quote(spec.workdir)}",
        f"exec unshare --user {user} -- env -i {program}",
    ]
    return "\n".join(lines)


def _system() -> list[str]:
    lines = ["mkdir -p dev proc tmp", "chmod 1777 tmp"]
    lines += _bind(Path("/usr"), "/usr", read_only=True)
    for name in SYSTEM:
        path = Path("/") / name
        if path.is_symlink():
            lines.append(f"ln -s {quoted(path.readlink())} {name}")
        elif path.is_dir():
            lines += _bind(path, str(path), read_only=True)
    prefix = Path(sys.base_prefix)
    if not prefix.is_relative_to("/usr"):
        lines += _bind(prefix, str(prefix), read_only=True)
    for device in DEVICES:
        lines += [f": > dev/{device}", f"mount --bind /dev/{device} dev/{device}"]
    lines.append("mount --rbind /proc proc")
    return lines


def _files(files: Mapping[str, str]) -> list[str]:
    lines = []
    for path, text in files.items():
        inside = shlex.quote(f".{path}")
        lines.append(f"mkdir -p {shlex.quote(f'.{Path(path).parent}')}")
        lines.append(f"printf %s {shlex.quote(text)} > {inside}")
    return lines


def _bind(source: Path, path: str, *, read_only: bool) -> list[str]:
    inside = shlex.quote(f".{path}")
    parent = shlex.quote(f".{Path(path).parent}")
    if source.is_file():
        lines = [f"mkdir -p {parent}", f": > {inside}"]
    else:
        lines = [f"mkdir -p {inside}"]
    lines.append(f"mount --rbind {quoted(source)} {inside}")
    if read_only:
        lines.append(f"mount -o remount,bind,ro {inside}")
    return lines


def quoted(path: Path) -> str:
    """Return a path as one word of a shell script."""
    return shlex.quote(str(path))
