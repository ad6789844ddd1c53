"""`python -m tests.matrix 14 15 …`: the integration tier on each of these servers."""

import os
import subprocess
import sys
from collections.abc import Sequence

from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.postgres_packages import packaged_programs
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress


def main(versions: Sequence[str]) -> int:
    """Run the tier on each version, all of them whatever fails; return a status."""
    progress = Progress(sys.stdout)
    failed = []
    for version in versions:
        try:
            programs = packaged_programs(version, progress)
        except BedError as error:
            progress.say(str(error))
            return 1
        progress.say(f"The integration tier on PostgreSQL {version}, over TLS:")
        if run_tier({"PGOP_PG_BIN": str(programs), "PGOP_PG_TLS": "1"}) != 0:
            failed.append(version)
    if failed:
        progress.say(f"Failed on PostgreSQL {', '.join(failed)}")
    return 1 if failed or not versions else 0


def run_tier(environment: dict[str, str]) -> int:
    """Run the integration tier; return pytest's exit status."""
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-n", "2"]
    done = subprocess.run(
        [*command, "tests/integration"],
        cwd=CHECKOUT,
        env=dict(os.environ) | environment,
        check=False,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
