"""`python -m tests.bench`: the operator beside plain SQL and a bare API server."""

import argparse
import asyncio
import sys
from collections.abc import Callable

from tests.bench import admission, items, privileges
from tests.bench.report import machine
from tests.localcluster.progress import Progress


def main() -> None:
    """Measure, and print a Markdown table of each part."""
    progress = Progress(sys.stderr)
    where = machine()
    options = _options()
    parts: dict[str, Callable[[], str]] = {
        "items": lambda: items.measure(
            progress, rounds=options.rounds, idle=options.idle, count=options.items
        ),
        "admission": lambda: admission.measure(
            progress, rounds=options.rounds, creates=options.creates
        ),
        "privileges": lambda: asyncio.run(
            privileges.measure(progress, rounds=options.rounds)
        ),
    }
    tables = [parts[name]() for name in parts if name in (options.parts or parts)]
    Progress(sys.stdout).say("\n\n".join((f"{where}.", *tables)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = ("items", "admission", "privileges")
    parser.add_argument("parts", nargs="*", choices=[*names, []], help="default: all")
    parser.add_argument("--items", type=int, default=200, help="at once (%(default)s)")
    parser.add_argument("--idle", type=int, default=30, help="singly (%(default)s)")
    parser.add_argument("--creates", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
