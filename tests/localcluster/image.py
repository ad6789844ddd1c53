"""What the Dockerfile makes, made here: the wheel in an environment of its own."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.node.images import Image, read_dockerfile
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress

RUNTIME_LOCK = CHECKOUT / "requirements" / "runtime.lock"
DOCKERFILE = CHECKOUT / "Dockerfile"


def build_image(directory: Path, progress: Progress) -> Image:
    """Build the wheel, install it below `directory` and return it as an image.

    Requirements that did not change are not installed again. Raises BedError.
    """
    recipe = read_dockerfile(DOCKERFILE.read_text(encoding="utf-8"))
    if len(recipe.copied) != 1:
        raise BedError(
            f"the Dockerfile's last stage must copy one path: {recipe.copied}"
        )
    environment = directory / "environment"
    with progress.step("building the wheel and installing it as the image's files"):
        provide_environment(environment)
        install_wheel(environment, build_wheel(directory / "wheel"))
        relocate(environment, recipe.copied[0])
    return Image(recipe=recipe, files={recipe.copied[0]: environment})


def provide_environment(environment: Path) -> None:
    """Make a virtual environment with exactly the locked runtime requirements."""
    lock = RUNTIME_LOCK.read_bytes()
    made_of = hashlib.sha256(lock + sys.version.encode()).hexdigest()
    stamp = environment / "made-of"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_of:
        return
    shutil.rmtree(environment, ignore_errors=True)
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    pip(environment, "--require-hashes", "--requirement", str(RUNTIME_LOCK))
    stamp.write_text(made_of, encoding="utf-8")


def build_wheel(directory: Path) -> Path:
    """Build the checkout's wheel and return its path."""
    shutil.rmtree(directory, ignore_errors=True)
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options]
    run(*command, f"--wheel-dir={directory}", str(CHECKOUT))
    (wheel,) = directory.glob("*.whl")
    return wheel


def install_wheel(environment: Path, wheel: Path) -> None:
    """Install the wheel over an earlier one of it."""
    pip(environment, "--no-deps", "--no-index", "--force-reinstall", str(wheel))


def relocate(environment: Path, path: str) -> None:
    """Let the programs name the interpreter where the image has it."""
    here, there = f"#!{environment}/", f"#!{path}/"
    for program in (environment / "bin").iterdir():
        if program.is_symlink() or not program.is_file():
            continue
        content = program.read_bytes()
        if content.startswith(here.encode()):
            program.write_bytes(content.replace(here.encode(), there.encode(), 1))


def pip(environment: Path, *options: str) -> None:
    """Install something into an environment that has no pip itself."""
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet"]
    run(*command, "--disable-pip-version-check", *options)


def run(*command: str) -> None:
    """Run a program. Raises BedError with the end of what it said."""
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = f"{done.stdout}{done.stderr}"[-3000:]
        raise BedError(f"{' '.join(command[:4])} failed:\n{said}")
