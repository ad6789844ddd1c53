"""The small program between a bed and each of its processes.

It writes its own pid file before it becomes the program, so that there is no moment
at which a crash of the bed leaves a process nobody knows. It also gives up root, and
asks the kernel to end it together with the bed. `preexec_fn` could do the same, but
it is not safe in a process with threads.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def identity(pid: int) -> str | None:
    """Return what tells this process from a later one of the same pid.

    None when there is no such process, or only a zombie of it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may itself contain ") ".
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot.strip()} {start_ticks}"


def write_pid_file(path: Path, pid: int) -> None:
    """Record a process under its pid and identity, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(f"{pid} {identity(pid)}\n", encoding="utf-8")
    draft.replace(path)


def become(user: str) -> None:
    """Give up root for `uid:gid`."""
    uid, gid = (int(number) for number in user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def end_with(parent: int, death_signal: int) -> None:
    """Have the kernel send `death_signal` when the parent ends; exit if it has."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the bed ended before its process began")


def main() -> None:
    """Become the program named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid-file", type=Path)
    parser.add_argument("--user")
    parser.add_argument("--parent", type=int)
    parser.add_argument("--death-signal", type=int, default=signal.SIGKILL)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    if options.pid_file:
        write_pid_file(options.pid_file, os.getpid())
    if options.user:
        become(options.user)
    if options.parent:
        # After become(): changing the uid forgets the death signal.
        end_with(options.parent, options.death_signal)
    # Python ignores SIGPIPE, and ignored signals stay ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(options.program[0], options.program)  # noqa: S606 - this program's very purpose


if __name__ == "__main__":
    main()
