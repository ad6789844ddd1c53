"""The manifests of config/, rendered as `kubectl apply --kustomize` would."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.localcluster.binaries import CHECKOUT

CONFIG = CHECKOUT / "config"
Manifest = dict[str, Any]


def render(kubectl: Path, directory: Path) -> list[Manifest]:
    """Return the documents of a kustomization; needs no API server.

    Raises:
        CalledProcessError: it cannot be rendered; the text is in its stderr.
    """
    done = subprocess.run(
        [str(kubectl), "kustomize", str(directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(done.stdout))


def kustomizations() -> list[str]:
    """Return every directory of config/ that can be applied, relative to it."""
    found = CONFIG.rglob("kustomization.yaml")
    return sorted(str(path.parent.relative_to(CONFIG)) for path in found)
