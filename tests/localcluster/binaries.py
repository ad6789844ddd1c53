"""The control plane's programs: found through KUBEBUILDER_ASSETS, else built once.

They are built from Go modules of ours into a cache outside the checkout, so that every
checkout and every run shares one build.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster.gomodules import (
    CHECKOUT,
    GoModule,
    Toolchain,
    built,
    cache_directory,
    find_go,
    locked,
)
from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress

__all__ = ["CHECKOUT", "Binaries", "provide_binaries", "provide_cert_manager"]

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
CERT_MANAGER = "github.com/cert-manager/cert-manager"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the control plane's programs are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


def provide_binaries(progress: Progress) -> Binaries:
    """Return the programs; build, showing progress, those that nobody has yet.

    Raises BedError with the compiler's words when a build fails.
    """
    found = given_binaries(os.environ.get("KUBEBUILDER_ASSETS"))
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        found |= built_binaries(missing, progress)
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items()})


def given_binaries(assets: str | None) -> dict[str, Path]:
    """Return what an envtest directory has; etcd and the API server are a must."""
    if not assets:
        return {}
    directory = Path(assets)
    found = {
        name: directory / name for name in PACKAGES if (directory / name).is_file()
    }
    for name in ("etcd", "kube-apiserver"):
        if name not in found:
            raise BedError(f"KUBEBUILDER_ASSETS is {assets}, but has no {name}")
    return found


def control_plane_module() -> GoModule:
    """Return the module that has Kubernetes and etcd as tools."""
    directory = Path(__file__).resolve().parent / "controlplane"
    text = (directory / "go.mod").read_text(encoding="utf-8")
    return GoModule(
        name=directory.name,
        packages=PACKAGES,
        flags=build_flags(kubernetes_version(text)),
        estimate="about 8 minutes on 2 cores; Go's caches take 4 GB",
    )


def built_binaries(names: list[str], progress: Progress) -> dict[str, Path]:
    """Return the named programs from the cache, building what is not there."""
    target = built(control_plane_module(), names, progress)
    return {name: target / name for name in names}


@dataclass(frozen=True, slots=True)
class CertManager:
    """cert-manager's controllers in one program, and its CRDs as a directory."""

    program: Path
    crds: Path


def provide_cert_manager(progress: Progress) -> CertManager:
    """Return cert-manager from the cache; build it when nobody has yet."""
    module = GoModule(
        name="certmanager",
        packages={"certmanager": "."},
        flags=("-trimpath", "-ldflags", "-s -w"),
        estimate="about 4 minutes on 2 cores",
    )
    target = built(module, ["certmanager"], progress)
    crds = target / "crds"
    if not crds.exists():
        with locked(target.with_suffix(".lock"), progress):
            go = find_go(module, cache_directory(), progress)
            copy_crds(go, module, target=crds)
    return CertManager(program=target / "certmanager", crds=crds)


def copy_crds(go: Toolchain, module: GoModule, *, target: Path) -> None:
    """Copy the CRDs of the cert-manager version that `module` requires."""
    if target.exists():
        return
    done = subprocess.run(
        [str(go.program), "list", "-m", "-f", "{{.Dir}}", CERT_MANAGER],
        cwd=module.directory,
        env=go.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    source = Path(done.stdout.strip()) / "deploy" / "crds"
    if done.returncode != 0 or not source.is_dir():
        raise BedError(f"Go has no sources of {CERT_MANAGER}:\n{done.stderr}")
    draft = target.with_name(".crds.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for crd in source.glob("*.yaml"):
        shutil.copyfile(crd, draft / crd.name)
    draft.replace(target)


def kubernetes_version(module: str) -> str:
    """Return the version of k8s.io/kubernetes that a go.mod requires."""
    required = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", module, re.MULTILINE)
    if required is None:
        raise BedError("controlplane/go.mod does not require k8s.io/kubernetes")
    return required[1]


def build_flags(version: str) -> tuple[str, ...]:
    """Return the flags of `go build`; without -X the server calls itself v0.0.0."""
    major, minor = version.removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    linked = (
        f"-s -w -X {package}.gitVersion={version}"
        f" -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
    return ("-trimpath", "-ldflags", linked)
