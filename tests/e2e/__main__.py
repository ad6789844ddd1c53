"""`python -m tests.e2e [PYTEST ARGUMENTS]`, behind `make e2e`."""

import os
import sys
from pathlib import Path

from tests.localcluster import namespaces
from tests.localcluster.binaries import (
    CHECKOUT,
    Binaries,
    provide_binaries,
    provide_cert_manager,
)
from tests.localcluster.config import CONFIG, render
from tests.localcluster.deployed import Parts
from tests.localcluster.image import build_image
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory

DIRECTORY = "PGOP_E2E_DIRECTORY"
# A run hangs nowhere: every step has its own limit, and this is the one for all.
LIMIT_SECONDS = 1200


def main(arguments: list[str]) -> int:
    """Build what is missing, then test inside namespaces; return the exit code."""
    progress = Progress(sys.stdout)
    try:
        namespaces.enter()
        binaries = provide_binaries(progress)
        cert_manager = provide_cert_manager(progress)
        image = build_image(LOCAL / "image", progress)
        with run_directory(LOCAL / "e2e") as directory:
            parts = Parts(
                binaries=binaries,
                cert_manager=cert_manager,
                image=image,
                image_name=image_name(binaries),
            )
            (directory / "parts.json").write_text(parts.to_json(), encoding="utf-8")
            progress.say(f"Logs are in {directory / 'logs'}")
            return namespaces.run_in_namespaces(
                pytest_command(arguments),
                state=directory / "state",
                environment=os.environ | {DIRECTORY: str(directory)},
            )
    except BedError as error:
        progress.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def pytest_command(arguments: list[str]) -> list[str]:
    """Return the command that runs the tests one by one, saying which."""
    options = ["--verbose", f"--rootdir={CHECKOUT}", "--tb=short", "--durations=12"]
    limits = ["--timeout=300", f"--session-timeout={LIMIT_SECONDS}"]
    python = [sys.executable, "-m", "pytest"]
    return [*python, *options, *limits, *(arguments or ["tests/e2e"])]


def image_name(binaries: Binaries) -> str:
    """Return the image that config/default names. Raises BedError unless it is one."""
    names = {
        container["image"]
        for document in render(binaries.kubectl, CONFIG / "default")
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    if len(names) != 1:
        raise BedError(f"config/default must name one image, not {sorted(names)}")
    return str(names.pop())


def directory() -> Path:
    """Return the directory of the present run."""
    return Path(os.environ[DIRECTORY])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
