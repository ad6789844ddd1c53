"""`python -m tests.soak`: random work and accidents, held against a model.

The first half has kills as well; in the second half the processes live on, and their
memory, files and sessions, and what they log, must not grow. The seed that is printed
makes the same choices again (`--seed`), if not the same moments.
"""

import argparse
import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from tests.cluster.objects import (
    connect_cluster,
    database_cluster,
    documents,
)
from tests.localcluster.cluster import LocalCluster, running_cluster
from tests.localcluster.probes import read_page, wait_until
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory
from tests.localcluster.spills import find_spills
from tests.soak.actions import Scene, actions
from tests.soak.growth import Sample, growth, sample
from tests.soak.model import Model
from tests.soak.standing import differences

NAMESPACE: Final = "soak"
ACTIONS: Final = 25
AGREE_SECONDS: Final = 180.0
# Drift is to be found in a soak, which has no ten minutes for it.
SWEEP: Final = "--sweep-interval=5s"
RESYNC: Final = "20s"


def main() -> int:
    """Soak for so many minutes; return 1 when something is not as it should be."""
    options = _options()
    progress = Progress(sys.stdout)
    progress.say(f"seed {options.seed}")
    with (
        run_directory(LOCAL / "soak") as directory,
        running_cluster(directory, progress=progress) as bed,
        _sweeping(bed),
    ):
        scene = _scene(bed, options.seed)
        problems = soak(scene, progress, seconds=60 * options.minutes)
        problems += _spills(bed)
    for problem in problems:
        progress.say(problem)
    progress.say(f"seed {options.seed}: {len(problems)} problems")
    return bool(problems)


def soak(scene: Scene, progress: Progress, *, seconds: float) -> list[str]:
    """Act and compare by turns; return what is wrong, at the latest at the end."""
    begun = time.monotonic()
    samples: list[Sample] = []
    done = 0
    while (passed := time.monotonic() - begun) < seconds:
        lives_on = passed > seconds / 2
        choices = actions(scene, with_kills=not lives_on)
        for action in islice(choices, ACTIONS):
            action(scene)
        done += ACTIONS
        found = _disagreement(scene)
        if found:
            return found
        taken = sample(scene.bed, actions=done)
        progress.say(f"{passed:5.0f} s, {taken}")
        if lives_on:
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


def _scene(bed: LocalCluster, seed: int) -> Scene:
    bed.kubectl.run("create", "namespace", NAMESPACE)
    kubectl = bed.kubectl_in(NAMESPACE)
    connect_cluster(bed, kubectl, NAMESPACE)
    kubectl.apply(documents(database_cluster(NAMESPACE, resyncInterval=RESYNC)))
    chance = random.Random(seed)  # noqa: S311 (nothing secret about it)
    return Scene(bed, kubectl, NAMESPACE, Model(chance))


@contextmanager
def _sweeping(bed: LocalCluster) -> Iterator[None]:
    """Have a controller that looks servers over every few seconds."""
    bed.controller.stop()
    bed.controller = bed.add_controller("controller-soak", SWEEP)
    yield


def _spills(bed: LocalCluster) -> list[str]:
    """Say where a secret stands that must not be seen."""
    pages = {
        "controller": read_page(f"http://{bed.controller.component.address}/metrics"),
        "webhook": read_page(f"https://{bed.webhook.component.address}/metrics"),
    }
    return find_spills(bed.logs, pages=pages)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
