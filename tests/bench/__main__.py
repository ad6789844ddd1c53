"""`python -m tests.bench`: the operator beside plain SQL and a bare API server."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Final

from tests.bench import (
    admission,
    failover,
    items,
    mass,
    memory,
    privileges,
    restart,
    servers,
    steady,
)
from tests.bench.report import machine
from tests.localcluster.progress import Progress


def _items(progress: Progress, options: argparse.Namespace) -> str:
    return items.measure_items(
        progress, rounds=options.rounds, idle=options.singly, counts=options.items
    )


def _objects(progress: Progress, options: argparse.Namespace) -> str:
    return items.measure_objects(
        progress, rounds=options.rounds, databases=options.databases
    )


def _admission(progress: Progress, options: argparse.Namespace) -> str:
    return admission.measure(progress, rounds=options.rounds, creates=options.creates)


def _privileges(progress: Progress, options: argparse.Namespace) -> str:
    return asyncio.run(privileges.measure(progress, rounds=options.rounds))


def _restart(progress: Progress, options: argparse.Namespace) -> str:
    return restart.measure(progress, rounds=options.rounds, databases=options.databases)


def _mass(progress: Progress, options: argparse.Namespace) -> str:
    return mass.measure(
        progress,
        rounds=options.rounds,
        databases=options.databases,
        roles=options.sharing,
    )


def _memory(progress: Progress, options: argparse.Namespace) -> str:
    return memory.measure(progress, held=options.held)


def _steady(progress: Progress, options: argparse.Namespace) -> str:
    return steady.measure(progress, objects=options.objects, minutes=options.idle)


def _failover(progress: Progress, options: argparse.Namespace) -> str:
    return failover.measure(progress, rounds=options.rounds)


def _servers(progress: Progress, options: argparse.Namespace) -> str:
    return servers.measure(progress, rounds=options.rounds, servers=options.servers)


PARTS: Final[Mapping[str, Callable[[Progress, argparse.Namespace], str]]] = {
    "items": _items,
    "objects": _objects,
    "restart": _restart,
    "mass": _mass,
    "memory": _memory,
    "steady": _steady,
    "failover": _failover,
    "servers": _servers,
    "admission": _admission,
    "privileges": _privileges,
}


def main() -> None:
    """Measure, and print a Markdown table of each part."""
    progress = Progress(sys.stderr)
    where = machine()
    options = _options()
    tables = [PARTS[name](progress, options) for name in options.parts or PARTS]
    Progress(sys.stdout).say("\n\n".join((f"{where}.", *tables)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument(
        "--items",
        type=int,
        nargs="+",
        default=[50, 200, 1000],
        help="at once (%(default)s)",
    )
    parser.add_argument(
        "--databases", type=int, default=1000, help="with two roles each (%(default)s)"
    )
    parser.add_argument(
        "--held",
        type=int,
        nargs="+",
        default=[1000, 5000, 10000],
        help="objects in memory (%(default)s)",
    )
    parser.add_argument(
        "--idle", type=float, default=10, help="minutes of steady state (%(default)s)"
    )
    parser.add_argument(
        "--objects", type=int, default=1000, help="in that state (%(default)s)"
    )
    parser.add_argument(
        "--servers", type=int, default=20, help="of which one hangs (%(default)s)"
    )
    parser.add_argument(
        "--sharing", type=int, default=200, help="roles of one Secret (%(default)s)"
    )
    parser.add_argument("--singly", type=int, default=30, help="items (%(default)s)")
    parser.add_argument("--creates", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
