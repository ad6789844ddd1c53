"""The files of config/ and the Dockerfile agree with each other and with the code.

What only rendering shows is in tests/cluster/test_manifests.py.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pg_operator.cli.main import main

CHECKOUT = Path(__file__).parents[2]
CONFIG = CHECKOUT / "config"
Manifest = dict[str, Any]
PROCESSES = pytest.mark.parametrize("process", ["controller", "webhook"])
INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$", flags=re.MULTILINE)


def listed(room: Path) -> Iterator[Manifest]:
    """Yield the documents that a kustomization lists, unpatched."""
    listing = next(room.glob("[kK]ustomization*"))
    for resource in yaml.safe_load(listing.read_text())["resources"]:
        path = (room / resource).resolve()
        if path.is_dir():
            yield from listed(path)
        else:
            yield from yaml.safe_load_all(path.read_text())


DEFAULT = list(listed(CONFIG / "default"))


def one(kind: str, name: str) -> Manifest:
    (found,) = [
        document
        for document in DEFAULT
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod_of(process: str) -> Manifest:
    """Return the pod template of a process."""
    template: Manifest = one("Deployment", f"pg-operator-{process}")["spec"]["template"]
    return template


def container_of(process: str) -> Manifest:
    (container,) = pod_of(process)["spec"]["containers"]
    found: Manifest = container
    return found


def test_deleting_the_operator_leaves_crds_namespace_and_all_secrets() -> None:
    """Without the Secret in that namespace no mark on a server can be opened again."""
    kinds = {document["kind"] for document in DEFAULT}
    assert not kinds & {"Namespace", "CustomResourceDefinition", "Secret"}
    before = [document["kind"] for document in listed(CONFIG / "crd")]
    assert sorted(before) == [*["CustomResourceDefinition"] * 3, "Namespace"]


def test_namespace_lets_only_restricted_pods_in() -> None:
    (namespace,) = [d for d in listed(CONFIG / "crd") if d["kind"] == "Namespace"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    places = {document["metadata"].get("namespace") for document in DEFAULT}
    assert places == {None, namespace["metadata"]["name"]}


@PROCESSES
def test_pods_are_restricted_and_write_nowhere(process: str) -> None:
    pod, container = pod_of(process)["spec"], container_of(process)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"hostNetwork", "hostPID", "hostIPC"} & pod.keys() == set()


@PROCESSES
def test_pods_say_what_they_need(process: str) -> None:
    """Memory is limited; a CPU limit would only make answers late."""
    resources = container_of(process)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


@PROCESSES
def test_each_process_has_an_account_of_its_own(process: str) -> None:
    account = pod_of(process)["spec"]["serviceAccountName"]
    assert account == f"pg-operator-{process}"
    assert one("ServiceAccount", account)


@PROCESSES
def test_deployment_selects_its_own_pods_only(process: str) -> None:
    spec = one("Deployment", f"pg-operator-{process}")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert labels["app.kubernetes.io/component"] == process


@PROCESSES
def test_probes_ask_a_port_that_the_process_serves(process: str) -> None:
    container = container_of(process)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        get = container[probe]["httpGet"]
        address = f"0.0.0.0:{ports[get['port']]}"
        assert get["path"] == path
        assert any(argument.endswith(f"={address}") for argument in container["args"])


def test_webhook_is_ready_by_what_the_api_server_will_call() -> None:
    """A TCP probe would keep a process that hangs among the endpoints."""
    get = container_of("webhook")["readinessProbe"]["httpGet"]
    service = one("Service", "pg-operator-webhook")["spec"]
    (port,) = service["ports"]
    (serving,) = container_of("webhook")["ports"]
    assert (get["scheme"], get["port"]) == ("HTTPS", serving["name"])
    assert port["targetPort"] == serving["containerPort"]
    labels = pod_of("webhook")["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()


def test_webhook_stays_up_through_rollouts_and_drains_of_nodes() -> None:
    spec = one("Deployment", "pg-operator-webhook")["spec"]
    budget = one("PodDisruptionBudget", "pg-operator-webhook")["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert 1 <= budget["minAvailable"] < spec["replicas"]
    labels = pod_of("webhook")["metadata"]["labels"]
    assert budget["selector"]["matchLabels"] == labels


def test_controller_that_takes_over_is_there_before_the_old_one_goes() -> None:
    """Several are safe only because they elect one of themselves."""
    spec = one("Deployment", "pg-operator-controller")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "--leader-elect" in container_of("controller")["args"]


def test_serving_certificate_is_signed_by_the_long_lived_authority() -> None:
    """Were the leaf its own authority, each renewal would change what is trusted."""
    leaf = one("Certificate", "pg-operator-webhook")["spec"]
    issuer = one("Issuer", leaf["issuerRef"]["name"])["spec"]
    authority = one("Certificate", "pg-operator-ca")["spec"]
    assert issuer == {"ca": {"secretName": authority["secretName"]}}
    assert authority["isCA"]
    assert authority["commonName"]
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    assert one("Issuer", authority["issuerRef"]["name"])["spec"] == {"selfSigned": {}}


def test_serving_certificate_names_the_service_that_is_called() -> None:
    metadata = one("Service", "pg-operator-webhook")["metadata"]
    host = f"{metadata['name']}.{metadata['namespace']}.svc"
    names = one("Certificate", "pg-operator-webhook")["spec"]["dnsNames"]
    assert names == [host, f"{host}.cluster.local"]


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_users_never_write_status_or_finalizers(role: str) -> None:
    rules = one("ClusterRole", f"pg-operator-{role}")["rules"]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources <= {"databases", "databaseroles", "databaseclusters"}
    if role != "admin":
        assert "databaseclusters" not in resources


def test_users_get_nothing_by_the_built_in_roles_unless_asked_for() -> None:
    """Who may edit Deployments need not be who may ask for databases."""
    labels = [label for d in DEFAULT for label in d["metadata"].get("labels", {})]
    assert not [label for label in labels if "aggregate-to" in label]


@pytest.mark.parametrize("process", ["controller", "webhook"])
def test_monitors_and_network_policies_know_the_ports_of_the_pods(process: str) -> None:
    ports = {port["name"] for port in container_of(process)["ports"]}
    labels = pod_of(process)["metadata"]["labels"]
    beside = [*listed(CONFIG / "prometheus"), *listed(CONFIG / "network-policy")]
    mine = [d["spec"] for d in beside if d["metadata"]["name"].endswith(process)]
    assert len(mine) == 2
    monitor, policy = mine
    assert monitor["selector"] == policy["podSelector"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert {point["port"] for point in monitor["podMetricsEndpoints"]} <= ports
    let_in = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert let_in == ports


def documented_rights() -> list[tuple[str, str, str, str, str]]:
    """Return the rows of the table in docs/deploying.md."""
    text = (CHECKOUT / "docs" / "deploying.md").read_text(encoding="utf-8")
    table = text.partition("| process | resource |")[2].partition("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [tuple(cell.strip() for cell in row) for row in rows]  # type: ignore[misc]


def granted_rights() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the rules of config/ as rows of that table."""
    overlays = "`no-cert-manager`, `all-in-one`"
    rooms = (("rbac", "all"), ("self-signed", overlays))
    for room, overlay in rooms:
        found = list(listed(CONFIG / room))
        holders = {
            one["roleRef"]["name"]: one["subjects"][0]["name"]
            for one in found
            if "roleRef" in one
        }
        for role in found:
            for rule in role.get("rules", ()):
                (group,) = rule["apiGroups"]
                suffix = f".{group}" if group else ""
                names = ", ".join(f"`{one}{suffix}`" for one in rule["resources"])
                if "resourceNames" in rule:
                    named = " or ".join(f"`{one}`" for one in rule["resourceNames"])
                    names += f", named {named}"
                everywhere = role["kind"] == "ClusterRole"
                is_movable = role["metadata"]["name"] == "pg-operator-tenants"
                yield (
                    holders[role["metadata"]["name"]].removeprefix("pg-operator-"),
                    names,
                    ", ".join(rule["verbs"]),
                    "everywhere" if everywhere else "its namespace",
                    f"{overlay}; in `namespaced` where it is bound"
                    if is_movable
                    else overlay,
                )


def test_documented_rights_are_those_that_are_granted() -> None:
    assert documented_rights() == list(granted_rights())


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of the Dockerfile's stages."""
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for word, rest in INSTRUCTION.findall(text):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def test_image_starts_the_program_as_an_ordinary_user() -> None:
    image = dict(stages()[-1])
    (program,) = json.loads(image["ENTRYPOINT"])
    assert Path(program).name == "pg-operator"
    assert Path(program).is_relative_to(image["WORKDIR"])
    assert image["USER"] == "65532:65532"


@PROCESSES
def test_pods_leave_program_user_and_directory_to_the_image(process: str) -> None:
    container = container_of(process)
    assert container["image"] == "pg-operator"
    assert container.keys() & {"command", "workingDir"} == set()
    for context in (container["securityContext"], pod_of(process)["spec"]):
        assert "runAsUser" not in context
    assert isinstance(main.commands[container["args"][0]], click.Command)


def test_image_installs_only_what_the_lock_files_hash() -> None:
    installs = [
        step.strip()
        for _, rest in stages()[0]
        for step in rest.split("&&")
        if "pip install" in step
    ]
    assert len(installs) == 3
    for step in installs:
        assert "--require-hashes" in step or "--no-index" in step


def test_image_takes_nothing_but_the_program_out_of_the_build() -> None:
    assert len(stages()) == 2
    copied = [rest for word, rest in stages()[-1] if word in {"COPY", "ADD"}]
    assert copied == ["--from=build /opt/pg-operator /opt/pg-operator"]


def test_service_binding_controllers_may_read_what_they_are_led_to() -> None:
    role = one("ClusterRole", "pg-operator-service-binding")
    assert role["metadata"]["labels"]["servicebinding.io/controller"] == "true"
    (rule,) = role["rules"]
    crd = yaml.safe_load(
        (CHECKOUT / "crds" / "pg-operator.dev_databaseroles.yaml").read_text()
    )
    labels = crd["metadata"]["labels"]
    assert labels["servicebinding.io/provisioned-service"] == "true"
    assert rule["resources"] == [crd["spec"]["names"]["plural"]]
