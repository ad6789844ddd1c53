"""The manifests of config/, rendered by kubectl and shown to a real API server."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from pg_operator.cli.main import main
from pg_operator.cli.needed_rights import needed_rights
from pg_operator.kube.rights import rights_of
from tests.cluster.objects import database_role, documents
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG, Manifest, kustomizations, render
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import wait_until

DEPLOYED = [
    "default",
    "overlays/no-cert-manager",
    "overlays/all-in-one",
    "overlays/namespaced",
]
# Kinds of other projects, which the bed does not have.
FOREIGN = ("cert-manager.io", "monitoring.coreos.com")
NONE_OF_OURS = {"certmanager", "prometheus"}


def group_of(manifest: Manifest) -> str:
    return str(manifest["apiVersion"].rpartition("/")[0])


def deployments(manifests: list[Manifest]) -> list[Manifest]:
    return [one["spec"] for one in manifests if one["kind"] == "Deployment"]


@pytest.fixture
def kubectl_program(cluster: LocalCluster) -> Path:
    return cluster.kubectl.program


@pytest.mark.parametrize("directory", sorted({*kustomizations()} - NONE_OF_OURS))
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


def granted(manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Return the accounts of the operator and each right that they are given."""
    roles = {
        (one["kind"], one["metadata"]["name"]): one
        for one in manifests
        if one["kind"] in {"Role", "ClusterRole"}
    }
    return {
        (account["name"], str(right))
        for one in manifests
        if one["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for account in one["subjects"]
        for right in rights_of(
            roles[one["roleRef"]["kind"], one["roleRef"]["name"]],
            # Where `tenant` is applied, its namespace is said.
            namespaces=[
                one["metadata"].get("namespace", "default")
                if one["kind"] == "RoleBinding"
                else ""
            ],
        )
    }


@pytest.mark.parametrize("directory", DEPLOYED)
def test_check_asks_for_the_rights_that_are_given_and_no_others(
    kubectl_program: Path, directory: str
) -> None:
    rendered = render(kubectl_program, CONFIG / directory)
    if directory == "overlays/namespaced":
        rendered += render(kubectl_program, CONFIG / directory / "tenant")
    found = [one for one in rendered if one["kind"] == "Deployment"]
    needed = needed_rights(found, namespace=OPERATOR_NAMESPACE)
    asked = {(name, str(right)) for name in needed for right in needed[name]}
    assert asked == granted(rendered)


def ports_of(rules: list[Manifest]) -> set[str | int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize("directory", DEPLOYED)
def test_network_policies_and_monitors_reach_every_port_of_the_pods(
    kubectl_program: Path, directory: str
) -> None:
    """A port that no pod has is nobody's: such a rule lets nothing in."""
    beside = [
        one
        for room in ("network-policy", "prometheus")
        for one in render(kubectl_program, CONFIG / room)
    ]
    for spec in deployments(render(kubectl_program, CONFIG / directory)):
        pod = spec["template"]
        labels = pod["metadata"]["labels"].items()
        (container,) = pod["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        policies = [
            one["spec"]
            for one in beside
            if one["kind"] == "NetworkPolicy"
            and one["spec"]["podSelector"]["matchLabels"].items() <= labels
        ]
        let_in = [rule for policy in policies for rule in policy["ingress"]]
        assert ports <= ports_of(let_in)
        # The API server is no pod, so no selector lets it in.
        from_everywhere = [rule for rule in let_in if "from" not in rule]
        assert ports_of(from_everywhere) == {"https"}
        watched = {
            point["port"]
            for one in beside
            if one["kind"] == "PodMonitor"
            and one["spec"]["selector"]["matchLabels"].items() <= labels
            for point in one["spec"]["podMetricsEndpoints"]
        }
        assert ports <= watched
        let_out = ports_of([rule for policy in policies for rule in policy["egress"]])
        assert (5432 in let_out) == (container["args"][0] != "webhook")


@pytest.mark.parametrize("directory", DEPLOYED)
def test_one_line_moves_the_operator_to_another_namespace(
    kubectl_program: Path, tmp_path: Path, directory: str
) -> None:
    """It stands in what is applied, or in config/default where that builds on it."""
    copy = tmp_path / "config"
    for source in [*CONFIG.rglob("*.yaml"), *(CONFIG.parent / "crds").iterdir()]:
        target = tmp_path / source.relative_to(CONFIG.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    line = "namespace: pg-operator-system\n"
    place = directory.replace("overlays/namespaced", "default")
    listing = copy / place / "kustomization.yaml"
    text = listing.read_text()
    assert text.count(line) == 1
    listing.write_text(text.replace(line, "namespace: elsewhere\n"))
    manifests = render(kubectl_program, copy / directory)
    assert "pg-operator-system" not in yaml.safe_dump_all(manifests)


def as_user(kubectl: Kubectl, user: str, *args: str, text: str = "") -> str:
    """Run kubectl as a user of no group; return what it said of a refusal."""
    done = kubectl(*args, f"--as={user}", input=text or None)
    return done.stderr if done.returncode else ""


def bind(kubectl: Kubectl, user: str, role: str) -> None:
    """Give a user a ClusterRole in the test's namespace."""
    kubectl.run(
        "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}"
    )


PATCH = ("patch", "databaserole", "theirs", "--type=merge")
STATUS = (*PATCH, "--subresource=status", '--patch={"status": {}}')
NO_FINALIZER = (*PATCH, '--patch={"metadata": {"finalizers": null}}')
OTHER_LIMIT = (*PATCH, '--patch={"spec": {"connectionLimit": 3}}')


@pytest.fixture
def policy(cluster: LocalCluster) -> Iterator[None]:
    """Have config/policy in force."""
    target = f"--kustomize={CONFIG / 'policy'}"
    cluster.kubectl.run("apply", "--server-side", target)
    yield
    cluster.kubectl.run("delete", target)


def test_tenants_may_do_with_their_objects_what_the_roles_say(
    cluster: LocalCluster, kubectl: Kubectl
) -> None:
    cluster.kubectl.run("apply", "--server-side", f"--kustomize={CONFIG / 'users'}")
    bind(kubectl, "editor", "pg-operator-edit")
    bind(kubectl, "viewer", "pg-operator-view")
    role = documents(database_role("theirs", "nowhere"))
    create = ("create", "--filename=-")
    assert "forbidden" in as_user(kubectl, "viewer", *create, text=role)
    assert as_user(kubectl, "editor", *create, text=role) == ""
    assert as_user(kubectl, "editor", *OTHER_LIMIT) == ""
    assert as_user(kubectl, "viewer", "get", "databaseroles") == ""
    assert "forbidden" in as_user(kubectl, "viewer", *OTHER_LIMIT)
    for user in ("editor", "viewer"):
        assert "forbidden" in as_user(kubectl, user, *STATUS)
        assert "forbidden" in as_user(kubectl, user, "get", "databaseclusters")
    assert as_user(kubectl, "editor", "delete", "databaserole", "theirs") == ""


@pytest.mark.usefixtures("policy")
def test_policy_stops_even_who_has_every_right(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    """With the webhook away: a wall of its own. The operator works on behind it."""
    bind(kubectl, "mighty", "cluster-admin")
    cluster.kubectl.run(
        *("create", "rolebinding", namespace, "--clusterrole=cluster-admin"),
        *("--user=mighty", f"--namespace={OPERATOR_NAMESPACE}"),
    )
    kubectl.apply(documents(database_role("theirs", "nowhere")))
    kubectl.wait("databaserole/theirs", "condition=Ready=False")

    def refused(*args: str, text: str = "") -> str:
        # A policy is in force a moment after it is stored.
        said: list[str] = []

        def so() -> bool:
            said.append(as_user(kubectl, "mighty", *args, text=text))
            return bool(said[-1])

        assert wait_until(so, timeout=30)
        return said[-1]

    assert "only the operator knows it" in refused(*STATUS)
    assert "pg-operator.dev/release=true" in refused(*NO_FINALIZER)
    here = ("create", "--filename=-", f"--namespace={OPERATOR_NAMESPACE}")
    dry = (*here, "--dry-run=server")
    role = documents(database_role("mine", "nowhere"))
    assert "in a namespace of your own" in refused(*dry, text=role)
    assert as_user(kubectl, "mighty", *OTHER_LIMIT) == ""
    kubectl.wait("databaserole/theirs", "jsonpath={.status.observedGeneration}=2")
    kubectl.run("delete", "databaserole", "theirs")
    cluster.kubectl.run(
        "delete", "rolebinding", namespace, f"--namespace={OPERATOR_NAMESPACE}"
    )
