"""Running a command in namespaces of its own, which end with everything in them.

`python -m tests.localcluster.namespaces DIRECTORY -- COMMAND...` is what runs inside:
it makes the bridge, mounts an own tmpfs on DIRECTORY and becomes the command.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.localcluster.node import network
from tests.localcluster.processes import BedError, shim

PROGRAMS = (
    *("unshare", "nsenter", "ip", "mount", "umount", "pivot_root"),
    *("hostname", "env", "sh"),
)
NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child")
STATE_SIZE = "2g"
# Says to the tests that they run where they may.
MARK = "PGOP_BED_NAMESPACE"
# Everything a bed of this kind will do to the kernel, tried out and thrown away.
TRIAL = """
    mount -t tmpfs trial /mnt
    ip link set lo up
    ip link add br0 type bridge
    ip link add veth0 type veth peer name veth1
    unshare --user --map-user=65532 --map-group=65532 -- true
"""


def run_in_namespaces(
    command: Sequence[str], *, state: Path, environment: Mapping[str, str]
) -> int:
    """Run a command in fresh namespaces with an empty `state`; return its exit code.

    When this program ends, whatever ends it, all processes and links in there do too.
    Raises BedError, in one sentence, on a machine where that cannot be.
    """
    entered = enter()
    state.mkdir(parents=True, exist_ok=True)
    inside = [sys.executable, "-m", __name__, str(state), "--", *command]
    tie = ["--parent", str(os.getpid()), "--death-signal", str(int(signal.SIGKILL))]
    done = subprocess.run(
        shim(*tie, program=[*entered, *inside]),
        env=dict(environment) | {MARK: "1"},
        check=False,
    )
    return done.returncode


def enter() -> list[str]:
    """Return the command prefix that enters namespaces here. Raises BedError."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or sys.platform != "linux":
        raise BedError(
            f"pods as processes need Linux with util-linux and iproute2; this machine"
            f" has no {', '.join(missing) or 'Linux kernel'}"
        )
    rootless = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = shutil.which("unshare") or "unshare"
    prefix = [unshare, *rootless, *NAMESPACES, "--mount-proc"]
    trial = subprocess.run(
        [*prefix, "sh", "-ec", TRIAL], capture_output=True, text=True, check=False
    )
    if trial.returncode != 0:
        raise BedError(
            "pods as processes need root, or user namespaces that may make networks and"
            f" mounts, which this machine refuses: {trial.stderr.strip()}"
        )
    return prefix


def inside() -> bool:
    """Say whether this program runs in such namespaces."""
    return os.environ.get(MARK) == "1"


def main(arguments: list[str]) -> None:
    """Set the fresh namespaces up and become the command."""
    state, separator, *command = arguments
    if separator != "--" or not command or not inside():
        sys.exit("this is started by run_in_namespaces only")
    network.run(
        "mount", "-t", "tmpfs", "-o", f"size={STATE_SIZE},mode=755", "bed", state
    )
    network.set_up()
    os.execvp(command[0], command)  # noqa: S606 - this program's very purpose


if __name__ == "__main__":
    main(sys.argv[1:])
