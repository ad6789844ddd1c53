"""What the operator's two accounts may do: what they need, and nothing else."""

import json
from collections.abc import Mapping

import pytest

from pg_operator.api.specs import PLURALS
from tests.cluster.objects import (
    connect_cluster,
    database,
    database_role,
    documents,
    password_secret,
)
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE, Identity
from tests.localcluster.probes import wait_until

OWN = "pg-operator.dev"
READ = {"get", "list", "watch"}
WRITE = {"create", "patch", "delete"}
EVERYWHERE: Mapping[tuple[str, str], set[str]] = {
    # A patch adds and removes our finalizer.
    (OWN, "databaseclusters"): READ | {"patch"},
    (OWN, "databases"): READ | {"patch"},
    (OWN, "databaseroles"): READ | {"patch"},
    (OWN, "databaseclusters/status"): {"patch"},
    (OWN, "databases/status"): {"patch"},
    (OWN, "databaseroles/status"): {"patch"},
    ("", "namespaces"): READ,
    ("", "secrets"): READ | WRITE,
    ("", "services"): {"get"} | WRITE,
    ("discovery.k8s.io", "endpointslices"): {"get"} | WRITE,
    ("", "events"): {"create", "patch"},
}
IN_ITS_OWN_NAMESPACE: Mapping[tuple[str, str], set[str]] = {
    ("", "secrets"): READ | WRITE,
    ("coordination.k8s.io", "leases"): {"get", "watch", "create", "patch"},
}
OWN_API = "/apis/pg-operator.dev/v1alpha1"
# What Kubernetes itself lets every account do: ask about itself, and read public keys.
EVERYBODY = {"authorization.k8s.io", "authentication.k8s.io", "certificates.k8s.io"}
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"


def kubectl_as(cluster: LocalCluster, identity: Identity) -> Kubectl:
    """Return kubectl as one of the operator's accounts."""
    plane = cluster.control_plane
    return Kubectl(
        cluster.kubectl.program,
        kubeconfig=plane.operator_kubeconfig(identity),
        cache=cluster.kubectl.cache,
    )


@pytest.fixture
def controller(cluster: LocalCluster) -> Kubectl:
    """Return kubectl as the controller."""
    return kubectl_as(cluster, cluster.control_plane.controller)


@pytest.fixture
def webhook(cluster: LocalCluster) -> Kubectl:
    """Return kubectl as the webhook."""
    return kubectl_as(cluster, cluster.control_plane.webhook)


def rights(kubectl: Kubectl, namespace: str) -> dict[tuple[str, str], set[str]]:
    """Return the verbs that an account has on each resource in a namespace."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = kubectl.run(
        "create", f"--raw={RULES}", "--filename=-", input=json.dumps(review)
    )
    found: dict[tuple[str, str], set[str]] = {}
    for rule in json.loads(answer)["status"]["resourceRules"]:
        if rule.get("resourceNames"):
            # Those of a name only are looked at where they are needed.
            assert rule["verbs"] == ["get"], rule
            continue
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                if group not in EVERYBODY:
                    found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def refused(kubectl: Kubectl, *args: str, input: str | None = None) -> bool:  # noqa: A002
    """Tell whether the API server forbids a request; it must not do it either way."""
    done = kubectl(*args, input=input)
    return done.returncode != 0 and "forbidden" in done.stderr.lower()


def test_controller_has_the_rights_it_needs_and_no_others(
    controller: Kubectl, namespace: str
) -> None:
    assert rights(controller, namespace) == EVERYWHERE
    own = {**EVERYWHERE, **IN_ITS_OWN_NAMESPACE}
    assert rights(controller, OPERATOR_NAMESPACE) == own


def test_webhook_may_look_at_what_it_judges_by_and_nothing_else(
    webhook: Kubectl, namespace: str
) -> None:
    seen = [(OWN, plural) for plural in PLURALS.values()] + [("", "namespaces")]
    expected = {key: {"list", "watch"} for key in seen}
    assert rights(webhook, namespace) == expected
    assert rights(webhook, OPERATOR_NAMESPACE) == expected


@pytest.mark.parametrize(
    "attempt",
    [
        ["create", "configmap", "mine"],
        ["run", "mine", "--image=example.test/image"],
        ["create", "serviceaccount", "mine"],
        ["create", "token", "default"],
        ["create", "clusterrolebinding", "mine", "--clusterrole=cluster-admin"],
        [
            "delete",
            f"--raw={OWN_API}/namespaces/default/databases/x",
        ],
        ["delete", f"--raw={OWN_API}/databaseclusters/x"],
        ["delete", "--raw=/api/v1/namespaces/x"],
        ["get", "configmaps"],
        ["get", "nodes"],
        ["get", "validatingwebhookconfigurations"],
    ],
    ids=" ".join,
)
def test_controller_is_refused_what_it_has_no_business_with(
    kubectl: Kubectl, controller: Kubectl, namespace: str, attempt: list[str]
) -> None:
    kubectl.apply(documents(password_secret("pw", "x")))
    assert refused(controller, f"--namespace={namespace}", *attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        ["get", "secret", "pw"],
        ["get", "secrets", "--all-namespaces"],
        ["get", "databases/x"],
        ["label", "namespace", "default", "a=b"],
        ["create", "event"],
    ],
    ids=" ".join,
)
def test_webhook_is_refused_everything_else(
    kubectl: Kubectl, webhook: Kubectl, namespace: str, attempt: list[str]
) -> None:
    kubectl.apply(documents(password_secret("pw", "x")))
    if attempt == ["create", "event"]:
        path = f"/api/v1/namespaces/{namespace}/events"
        event = '{"metadata": {"name": "e"}, "involvedObject": {}}'
        args = ("create", f"--raw={path}", "--filename=-")
        assert refused(webhook, *args, input=event)
    else:
        assert refused(webhook, f"--namespace={namespace}", *attempt)


def test_nothing_is_forbidden_to_the_operator_in_its_whole_work(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    mark = cluster.audit_mark()
    cluster.controller.restart()
    cluster.webhook.restart()
    connect_cluster(cluster, kubectl, namespace)
    orders, reader = f"{namespace}-orders", f"{namespace}-reader"
    permission = {"database": f"{namespace}_orders", "privileges": ["CONNECT"]}
    service = {"databaseServiceName": "pg", "deletionPolicy": "Delete"}
    role = {"password": {"name": "pw"}, "permissions": [permission]}
    objects = [
        password_secret("pw", "a-pa55word"),
        database(orders, namespace, schema="app", **service),
        database_role(reader, namespace, **role),
    ]
    kubectl.apply(documents(*objects))
    kubectl.wait(f"database/{orders}", "condition=Ready")
    kubectl.wait(f"databaserole/{reader}", "condition=Ready")
    # From an alias to addresses and away again: every write a Service can need.
    host = cluster.postgres.admin_dsn.replace("pg.example.test", "192.0.2.10")
    patch = json.dumps({"stringData": {"connection": host}})
    secret = ("secret", namespace, f"--namespace={OPERATOR_NAMESPACE}")
    kubectl.run("patch", *secret, f"--patch={patch}")
    selector = "--selector=kubernetes.io/service-name=pg"
    assert wait_until(
        lambda: bool(kubectl.get("endpointslices", selector)["items"]), timeout=60
    )
    kubectl.apply(documents(database(orders, namespace, deletionPolicy="Delete")))
    assert wait_until(
        lambda: (
            not kubectl.get("services")["items"]
            and not kubectl.get("endpointslices", selector)["items"]
        ),
        timeout=60,
    )
    kubectl.run("delete", "databaserole", reader)
    kubectl.run("delete", "database", orders)
    kubectl.run("delete", "databasecluster", namespace)

    accounts = (cluster.control_plane.controller, cluster.control_plane.webhook)
    for account in accounts:
        requests = cluster.requests_since(mark, user=account.user)
        assert [one for one in requests if one.code in {401, 403}] == []
    by_controller = cluster.requests_since(mark, user=accounts[0].user)
    assert any(one.resource == "endpointslices" for one in by_controller)


def test_roles_are_written_without_wildcards() -> None:
    manifests = list((CHECKOUT / "config" / "rbac").glob("*.yaml"))
    assert manifests
    for manifest in manifests:
        assert "*" not in manifest.read_text(encoding="utf-8")
