"""`python -m tests.soak`: random work and accidents, held against a model.

Two controllers elect a leader. The first half has the ends of processes as well, and
outages that cost a leader its term; in the second half the processes live on, and their
memory, files and sessions, and what they log, must not grow. The seed that is printed
makes the same choices again (`--seed`), if not the same moments.
"""

import argparse
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from psycopg.conninfo import make_conninfo

from tests.cluster.objects import connect_server
from tests.localcluster.api_proxy import fronted
from tests.localcluster.cluster import LocalCluster, running_cluster
from tests.localcluster.faults import HOST, Wire, in_thread
from tests.localcluster.probes import read_page, wait_until
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory
from tests.localcluster.spills import find_spills
from tests.soak.accidents import suffer
from tests.soak.actions import Candidate, Scene, work
from tests.soak.growth import Sample, growth, operator_processes, sample
from tests.soak.model import Model
from tests.soak.standing import differences

NAMESPACE: Final = "soak"
NAMES: Final = ("controller-first", "controller-second")
# How often people work, and accidents happen, between two looks at everything.
STEPS: Final = 6
MOST_WORK: Final = 10
AGREE_SECONDS: Final = 180.0
# Drift is to be found in a soak, which has no ten minutes for it.
SWEEP: Final = "--sweep-interval=5s"
RESYNC: Final = "20s"
REST_SECONDS: Final = 45.0


def main() -> int:
    """Soak for so many minutes; return 1 when something is not as it should be."""
    options = _options()
    progress = Progress(sys.stdout)
    progress.say(f"seed {options.seed}")
    with (
        run_directory(LOCAL / "soak") as directory,
        running_cluster(directory, progress=progress) as bed,
        staged(bed, seed=options.seed, directory=directory) as scene,
    ):
        progress.say(f"logs: {bed.logs}")
        problems = soak(scene, progress, seconds=60 * options.minutes)
        problems += [*_unrest(scene), *_spills(scene)]
    for problem in problems:
        progress.say(problem)
    progress.say(f"seed {options.seed}: {len(problems)} problems")
    return bool(problems)


@contextmanager
def staged(bed: LocalCluster, *, seed: int, directory: Path) -> Iterator[Scene]:
    """Have two controllers instead of the bed's own, and everything on bad wires."""
    bed.controller.stop()
    with ExitStack() as stack:
        wire = stack.enter_context(in_thread(Wire(HOST, bed.postgres.port).laid))
        candidates = [_candidate(stack, bed, name, directory) for name in NAMES]
        bed.kubectl.run("create", "namespace", NAMESPACE)
        kubectl = bed.kubectl_in(NAMESPACE)
        dsn = make_conninfo(bed.postgres.admin_dsn, port=wire.port)
        connect_server(kubectl, NAMESPACE, dsn, resyncInterval=RESYNC)
        chance = random.Random(seed)  # noqa: S311 (nothing secret about it)
        yield Scene(bed, kubectl, NAMESPACE, Model(chance), candidates, wire)


def _candidate(
    stack: ExitStack, bed: LocalCluster, name: str, directory: Path
) -> Candidate:
    plane = bed.control_plane
    kubeconfig = plane.operator_kubeconfig(plane.controller)
    own = directory / "state" / name
    own.mkdir()
    front = stack.enter_context(fronted(kubeconfig, directory=own))
    options = ("--leader-elect", SWEEP)
    process = bed.add_controller(name, *options, kubeconfig=front.kubeconfig)
    # In an order in which it ends before what it is connected to.
    stack.callback(process.kill)
    stack.enter_context(process.kept_running())
    return Candidate(name, process, front)


def soak(scene: Scene, progress: Progress, *, seconds: float) -> list[str]:
    """Act and compare by turns; return what is wrong, at the latest at the end."""
    begun = time.monotonic()
    samples: list[Sample] = []
    steps = 0
    while (passed := time.monotonic() - begun) < seconds:
        in_one_term = passed > seconds / 2
        for _ in range(STEPS):
            work(scene, scene.model.chance.randint(0, MOST_WORK))
            suffered = suffer(scene, in_one_term=in_one_term)
            progress.say(f"{time.monotonic() - begun:5.0f} s: {suffered}")
        steps += STEPS
        found = _disagreement(scene)
        if found:
            return found
        taken = sample(scene, steps=steps)
        progress.say(f"{time.monotonic() - begun:5.0f} s: all agree; {taken}")
        if in_one_term:
            samples.append(taken)
    return growth(samples)


def _disagreement(scene: Scene) -> list[str]:
    """Wait until objects, server and model agree; return how they do not."""
    found: list[str] = []

    def agree() -> bool:
        found[:] = differences(scene)
        return not found

    wait_until(agree, timeout=AGREE_SECONDS)
    return found


def _unrest(scene: Scene) -> list[str]:
    """Say what the controllers still write when nothing happens any more."""
    bed = scene.bed
    Event().wait(REST_SECONDS)
    mark = bed.audit_mark()
    Event().wait(REST_SECONDS)
    written = Counter(
        f"{request.verb} {request.resource}/{request.subresource}"
        for request in bed.requests_since(mark, user=bed.control_plane.controller.user)
        if request.writes and request.resource != "leases"
    )
    return [f"{what} {count} times at rest" for what, count in written.items()]


def _spills(scene: Scene) -> list[str]:
    """Say where a secret stands that must not be seen."""
    pages = {}
    for process in operator_processes(scene):
        process.start()
        url = process.component.ready_url.replace("/readyz", "/metrics")
        pages[process.component.name] = read_page(url)
    return find_spills(scene.bed.logs, pages=pages)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
