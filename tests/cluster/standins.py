"""Other processes of the program in the place of the bed's own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.localcluster.cluster import LocalCluster
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.probes import answers, wait_until

READY_SECONDS = 60
PROGRAM = Path(sys.executable).parent / "pg-operator"


def arguments(*parts: OperatorProcess, without: tuple[str, ...] = ()) -> list[str]:
    """Return the options of processes of the bed, but for some that begin so."""
    options = [option for part in parts for option in part.component.argv[2:]]
    return [option for option in options if not option.startswith(without or "\0")]


@contextmanager
def standing_in(
    cluster: LocalCluster,
    command: str,
    options: Sequence[str],
    *,
    parts: Sequence[OperatorProcess],
    log: Path,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command, as the controller's account, while `parts` are stopped.

    It listens where they did; they are started again at the end.
    """
    for part in parts:
        part.stop()
    kubeconfig = cluster.controller.component.environment["KUBECONFIG"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [PROGRAM, command, *options],
            stderr=written,
            env={**os.environ, "KUBECONFIG": kubeconfig},
        )
    urls = [part.component.ready_url for part in parts]
    try:
        ready = wait_until(lambda: all(map(answers, urls)), timeout=READY_SECONDS)
        assert ready, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()
        for part in parts:
            part.start()


def problems(cluster: LocalCluster | DeployedCluster) -> dict[str, str]:
    """Return what `pg-operator check` finds wrong, by what it is about."""
    done = run_as_administrator(cluster, "check")
    assert done.stdout.count("CRD of ") == 3, done
    said = done.stdout.splitlines()
    failed = [line[5:] for line in said if line.startswith("FAIL ")]
    assert done.returncode == (1 if failed else 0), done
    return dict(line.split(": ", 1) for line in failed)


def run_as_administrator(
    cluster: LocalCluster | DeployedCluster, *args: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of the program to its end, with an administrator's kubeconfig."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubectl.kubeconfig)}
    command = [str(PROGRAM), *args]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
