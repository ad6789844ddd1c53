"""Items from apply to Ready, beside plain SQL, on a durable PostgreSQL."""

from tests.bench.measure import Bench, Round
from tests.bench.report import table
from tests.cluster.objects import connect_cluster
from tests.localcluster.cluster import BedOptions, LocalCluster, running_cluster
from tests.localcluster.postgres import PostgresOptions
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory

NAMESPACE = "bench"
# Sessions are counted from the log, and autovacuum comes when it likes.
SETTINGS = {"log_connections": "on", "autovacuum": "off"}
POSTGRES = PostgresOptions(durable=True, settings=SETTINGS)


def measure(progress: Progress, *, rounds: int, idle: int, count: int) -> str:
    """Measure on a bed of its own; return a Markdown table."""
    with (
        run_directory(LOCAL / "bench") as directory,
        running_cluster(
            directory, progress=progress, options=BedOptions(postgres=POSTGRES)
        ) as bed,
    ):
        measured = _rounds(bed, progress, rounds=rounds, idle=idle, count=count)
    return table(measured, idle=idle, count=count)


def _rounds(
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
