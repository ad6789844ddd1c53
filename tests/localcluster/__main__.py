"""`python -m tests.localcluster up|down|status|build|demo`, behind `make`."""

import io
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.localcluster.binaries import provide_binaries
from tests.localcluster.cluster import BedOptions, LocalCluster, start_cluster
from tests.localcluster.demo import demo
from tests.localcluster.gomodules import locked
from tests.localcluster.kubectl import KubectlError
from tests.localcluster.operator import CONTROLLER, WEBHOOK
from tests.localcluster.postgres import SUPERUSER
from tests.localcluster.probes import answers
from tests.localcluster.processes import BedError, Supervisor
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, clear_runs, clear_state
from tests.localcluster.story import Story

STATE = LOCAL / "state"
LOGS = LOCAL / "logs"
PREVIOUS_LOGS = LOCAL / "logs.previous"
PROGRAMS = LOCAL / "bin"
KUBECONFIG = LOCAL / "kubeconfig"
POSTGRES_ENV = LOCAL / "postgres.env"
# Written last: without it, what is there is what a crash left.
COMPLETE = STATE / "complete"
# What can be started again beside the rest; without the API, all begins anew.
RESTARTABLE = frozenset({CONTROLLER, WEBHOOK, "postgres", "kube-controller-manager"})


def up(progress: Progress) -> None:
    """Start the bed, or what is missing of it."""
    with locked(LOCAL / "lock", progress):
        supervisor = Supervisor(STATE / "processes", tied=False)
        dead = [
            component.name
            for component in supervisor.components()
            if supervisor.find(component.name) is None
        ]
        if not COMPLETE.exists() or not RESTARTABLE.issuperset(dead):
            start_afresh(progress)
        elif dead:
            for name in dead:
                with progress.step(f"starting {name} again"):
                    supervisor.restart(name)
        else:
            progress.say("The bed is up already.")
    progress.say(
        f"export KUBECONFIG={KUBECONFIG} PATH={PROGRAMS}:$PATH\n"
        f"set -a; . {POSTGRES_ENV}; set +a\n"
        f"Logs are in {LOGS}; `make down` ends it."
    )


def start_afresh(progress: Progress) -> None:
    """Start a new bed after clearing up what a crash may have left."""
    if STATE.exists():
        progress.say("Cleaning up what an earlier bed left.")
        clear_state(STATE)
    if LOGS.exists():
        shutil.rmtree(PREVIOUS_LOGS, ignore_errors=True)
        LOGS.rename(PREVIOUS_LOGS)
    cluster = start_cluster(
        STATE, logs=LOGS, progress=progress, options=BedOptions(tied=False)
    )
    link_kubectl(cluster.kubectl.program)
    write_private(KUBECONFIG, cluster.kubectl.kubeconfig.read_text(encoding="utf-8"))
    write_private(POSTGRES_ENV, postgres_environment(cluster))
    COMPLETE.touch()


def postgres_environment(cluster: LocalCluster) -> str:
    """Return shell assignments: libpq's for the superuser, and the admin's DSN."""
    server = cluster.postgres
    values = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": SUPERUSER,
        "PGPASSWORD": server.superuser_password,
        "PGOP_ADMIN_DSN": server.admin_dsn,
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def link_kubectl(program: Path) -> None:
    """Give the user the kubectl that was built for the bed."""
    PROGRAMS.mkdir(exist_ok=True)
    link = PROGRAMS / "kubectl"
    link.unlink(missing_ok=True)
    link.symlink_to(program)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def down(progress: Progress) -> None:
    """End the bed and remove all of it but its logs."""
    with locked(LOCAL / "lock", progress):
        ended = clear_state(STATE)
        clear_runs(LOCAL / "runs")
        KUBECONFIG.unlink(missing_ok=True)
        POSTGRES_ENV.unlink(missing_ok=True)
    progress.say(f"Ended {', '.join(ended)}." if ended else "Nothing was running.")


def status(progress: Progress) -> None:
    """Say what runs, where it listens and where its log is."""
    supervisor = Supervisor(STATE / "processes", tied=False)
    components = supervisor.components()
    for component in components:
        process = supervisor.find(component.name)
        if process is None:
            state = "dead"
        elif not component.ready_url:
            state = f"pid {process.pid}"
        else:
            ready = "ready" if answers(component.ready_url) else "NOT ready"
            state = f"pid {process.pid}, {ready}"
        line = f"{component.name:24} {state:20} {component.address:18} {component.log}"
        progress.say(line)
    if not components:
        progress.say("Nothing runs; `make up` starts a bed.")


def build(progress: Progress) -> None:
    """Build the control plane's programs unless they are there."""
    provide_binaries(progress)


def show(_progress: Progress) -> None:
    """Show the whole job on a bed of its own, which reports under the steps."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Its signs are not in every terminal's encoding.
        sys.stdout.reconfigure(errors="replace")
    demo(Story(sys.stdout))


COMMANDS: dict[str, Callable[[Progress], None]] = {
    "up": up,
    "down": down,
    "status": status,
    "build": build,
    "demo": show,
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m tests.localcluster {'|'.join(COMMANDS)}")
        return 2
    try:
        COMMANDS[arguments[0]](Progress(sys.stdout))
    except (BedError, KubectlError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
