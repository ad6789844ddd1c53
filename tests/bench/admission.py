"""What admission costs, beside the same API server without webhooks.

Clients create a DatabaseRole with `dryRun=All` over and over: the API server asks both
webhooks, checks schema and CEL, and stores nothing.
"""

import asyncio
import re
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pg_operator.kube.client import Kubernetes, object_path
from tests.bench.measure import Latency
from tests.bench.report import spread
from tests.cluster.objects import connect_cluster, database, database_role, documents
from tests.cluster.unguarded import without_admission
from tests.localcluster.cluster import LocalCluster, running_cluster
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory

NAMESPACE: Final = "bench"
CLIENTS: Final = (1, 50)
BUCKET: Final = re.compile(
    r'^controller_runtime_webhook_latency_seconds_bucket\{le="([^"]+)",.*\} (\S+)$',
    re.MULTILINE,
)

Buckets = Counter[float]
"""How many requests took at most that many seconds, by the bounds of a histogram."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One round: creates with the webhooks and without, and what a webhook says."""

    asked: Latency
    bare: Latency
    own: Buckets


def measure(progress: Progress, *, rounds: int, creates: int) -> str:
    """Measure on a bed of its own; return a Markdown table in milliseconds."""
    with (
        run_directory(LOCAL / "bench") as directory,
        running_cluster(directory, progress=progress) as bed,
    ):
        bed.kubectl.run("create", "namespace", NAMESPACE)
        kubectl = bed.kubectl_in(NAMESPACE)
        connect_cluster(bed, kubectl, NAMESPACE)
        kubectl.apply(documents(database("orders", NAMESPACE, schema="app")))
        kubectl.wait("database/orders", "condition=Ready")
        create(bed, clients=8, count=200)  # what is only slow the first time
        rows = []
        for clients in CLIENTS:
            with progress.step(f"{creates} creates by {clients} at a time"):
                measured = [
                    measure_round(bed, clients=clients, count=creates)
                    for _ in range(rounds)
                ]
            rows += report(clients, measured)
    return "\n".join(
        ("| | without webhooks (ms) | with webhooks (ms) |", "|---|---|---|", *rows)
    )


def measure_round(bed: LocalCluster, *, clients: int, count: int) -> Measured:
    """Create with the webhooks, and then without."""
    before = webhook_buckets(bed)
    asked = create(bed, clients=clients, count=count)
    own = webhook_buckets(bed)
    own.subtract(before)
    with without_admission(bed.kubectl):
        bare = create(bed, clients=clients, count=count)
    return Measured(asked, bare, own)


def create(bed: LocalCluster, *, clients: int, count: int) -> Latency:
    """Create that often with that many clients, which have a connection each."""
    return Latency(asyncio.run(_create(bed.kubectl.kubeconfig, clients, count)))


async def _create(kubeconfig: Path, clients: int, count: int) -> Sequence[float]:
    body, path = _role(), object_path("DatabaseRole", NAMESPACE)
    seconds: list[float] = []

    async def client(share: int) -> None:
        async with await Kubernetes.connect(str(kubeconfig)) as kubernetes:
            for _ in range(share):
                begun = time.perf_counter()
                await kubernetes.request(
                    "POST", path, query={"dryRun": "All"}, body=body
                )
                seconds.append(time.perf_counter() - begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client(count // clients))
    return seconds


def _role() -> dict[str, Any]:
    """A role as there are many: read and write in one schema."""
    tables = [{"name": "*", "privileges": ["SELECT", "INSERT", "UPDATE", "DELETE"]}]
    sequences = [{"name": "*", "privileges": ["USAGE"]}]
    schema = {
        "name": "app",
        "privileges": ["USAGE"],
        "tables": tables,
        "sequences": sequences,
    }
    permission = {"database": "orders", "privileges": ["CONNECT"], "schemas": [schema]}
    return database_role(
        "app", NAMESPACE, password={"name": "app"}, permissions=[permission]
    )


def webhook_buckets(bed: LocalCluster) -> Buckets:
    """Read how long the webhook says that it took for its requests so far."""
    url = f"https://{bed.webhook.component.address}/metrics"
    # The bed's own process, on loopback.
    trust = ssl._create_unverified_context()  # noqa: S323
    with urllib.request.urlopen(url, context=trust) as response:
        text = response.read().decode()
    found: Buckets = Counter()
    for bound, count in BUCKET.findall(text):
        found[float(bound)] += int(float(count))
    return found


def quantile(buckets: Buckets, share: float) -> float:
    """Estimate what `share` of the requests stay below, evenly spread in a bucket."""
    rank = share * max(buckets.values())
    bounds = [(0.0, 0), *sorted(buckets.items())]
    for (lower, below), (upper, upto) in pairwise(bounds):
        if upto >= rank:
            return lower + (upper - lower) * (rank - below) / max(upto - below, 1)
    raise ValueError(share)


def report(clients: int, rounds: Sequence[Measured]) -> list[str]:
    """Return the rows of a number of clients."""
    who = "1 client" if clients == 1 else f"{clients} clients"

    def row(what: str, bare: list[float], asked: list[float]) -> str:
        cells = (
            spread([1000 * value for value in values]) if values else ""
            for values in (bare, asked)
        )
        return f"| {who}: {what} | {' | '.join(cells)} |"

    return [
        row(
            "a create, p50",
            [one.bare.p50 for one in rounds],
            [one.asked.p50 for one in rounds],
        ),
        row(
            "a create, p99",
            [one.bare.p99 for one in rounds],
            [one.asked.p99 for one in rounds],
        ),
        *(
            row(
                f"the webhook's own time for one of its two requests, {name}",
                [],
                [quantile(one.own, share) for one in rounds],
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
    ]
