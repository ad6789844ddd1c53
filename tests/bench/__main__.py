"""`python -m tests.bench`: the operator beside plain SQL, on a durable PostgreSQL."""

import argparse
import sys

from tests.bench.measure import Bench, Round
from tests.bench.report import machine, table
from tests.cluster.objects import connect_cluster
from tests.localcluster.cluster import BedOptions, LocalCluster, running_cluster
from tests.localcluster.postgres import PostgresOptions
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory

NAMESPACE = "bench"
# Sessions are counted from the log, and autovacuum comes when it likes.
SETTINGS = {"log_connections": "on", "autovacuum": "off"}
POSTGRES = PostgresOptions(durable=True, settings=SETTINGS)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--items", type=int, default=200, help="at once (%(default)s)")
    parser.add_argument("--idle", type=int, default=30, help="singly (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args()
    progress = Progress(sys.stderr)
    where = machine()
    with (
        run_directory(LOCAL / "bench") as directory,
        running_cluster(
            directory, progress=progress, options=BedOptions(postgres=POSTGRES)
        ) as bed,
    ):
        rounds = measure(
            bed,
            progress,
            rounds=options.rounds,
            idle=options.idle,
            count=options.items,
        )
    figures = table(rounds, idle=options.idle, count=options.items)
    Progress(sys.stdout).say(f"{where}.\n\n{figures}")


def measure(
    bed: LocalCluster, progress: Progress, *, rounds: int, idle: int, count: int
) -> list[Round]:
    """Run the rounds, telling each one's result."""
    bed.kubectl.run("create", "namespace", NAMESPACE)
    connect_cluster(bed, bed.kubectl_in(NAMESPACE), NAMESPACE)
    bench = Bench(bed, NAMESPACE)
    bench.round(idle=3, count=8)  # what is only slow the first time
    measured = []
    for number in range(1, rounds + 1):
        with progress.step(f"round {number} of {rounds}"):
            one = bench.round(idle=idle, count=count)
        progress.say(f"{one.idle.p50:.3f} s for one, {one.ratio:.2f} times the floor")
        measured.append(one)
    return measured


if __name__ == "__main__":
    main()
