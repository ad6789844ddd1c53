"""The manifests of config/, rendered by kubectl and shown to a real API server."""

from pathlib import Path

import click
import pytest
import yaml

from pg_operator.cli.main import main
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG, Manifest, kustomizations, render

DEPLOYED = ["default"]
# Kinds of other projects, which the bed does not have.
FOREIGN = ("cert-manager.io", "monitoring.coreos.com")


def group_of(manifest: Manifest) -> str:
    return str(manifest["apiVersion"].rpartition("/")[0])


def deployments(manifests: list[Manifest]) -> list[Manifest]:
    return [one["spec"] for one in manifests if one["kind"] == "Deployment"]


@pytest.fixture
def kubectl_program(cluster: LocalCluster) -> Path:
    return cluster.kubectl.program


@pytest.mark.parametrize("directory", sorted({*kustomizations()} - {"certmanager"}))
def test_api_server_accepts_every_manifest(
    cluster: LocalCluster, directory: str
) -> None:
    """Strictly, and without a warning that the namespace would not let a pod in."""
    manifests = render(cluster.kubectl.program, CONFIG / directory)
    own = [one for one in manifests if group_of(one) not in FOREIGN]
    done = cluster.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
        "--filename=-",
        input=yaml.safe_dump_all(own),
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("directory", DEPLOYED)
def test_program_understands_what_its_pods_are_told(
    kubectl_program: Path, directory: str
) -> None:
    specs = deployments(render(kubectl_program, CONFIG / directory))
    assert specs
    for spec in specs:
        (container,) = spec["template"]["spec"]["containers"]
        name, *arguments = container["args"]
        context = main.commands[name].make_context(name, arguments)
        assert isinstance(context, click.Context)


@pytest.mark.parametrize("directory", DEPLOYED)
def test_pods_mount_what_they_read(kubectl_program: Path, directory: str) -> None:
    manifests = render(kubectl_program, CONFIG / directory)
    issued = [m["spec"]["secretName"] for m in manifests if m["kind"] == "Certificate"]
    for spec in deployments(manifests):
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {one["name"]: one for one in pod.get("volumes", ())}
        mounts = {m["mountPath"]: m["name"] for m in container.get("volumeMounts", ())}
        read = {
            str(Path(argument.partition("=")[2]).parent)
            for argument in container["args"]
            if "=/" in argument
        }
        assert read == set(mounts)
        for name in mounts.values():
            assert volumes[name]["secret"]["secretName"] in issued


@pytest.mark.parametrize("directory", DEPLOYED)
def test_one_line_moves_the_operator_to_another_namespace(
    kubectl_program: Path, tmp_path: Path, directory: str
) -> None:
    copy = tmp_path / "config"
    for source in [*CONFIG.rglob("*.yaml"), *(CONFIG.parent / "crds").iterdir()]:
        target = tmp_path / source.relative_to(CONFIG.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    line = "namespace: pg-operator-system\n"
    listing = copy / directory / "kustomization.yaml"
    text = listing.read_text()
    assert text.count(line) == 1
    listing.write_text(text.replace(line, "namespace: elsewhere\n"))
    manifests = render(kubectl_program, copy / directory)
    assert "pg-operator-system" not in yaml.safe_dump_all(manifests)
