"""The roles for users: all that each one lists can be done, and nothing beyond it."""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest
import yaml

from tests.cluster.objects import database, database_cluster, database_role, documents
from tests.e2e import rights
from tests.e2e.installation import Installation
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.config import CONFIG
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.node.api import Api, ApiError
from tests.localcluster.probes import wait_until

Json = dict[str, Any]

MANIFESTS = "config/default"
USERS = "config/users"
AGGREGATED = "config/overlays/aggregated-users"
NAMESPACE, ELSEWHERE = "users", "elsewhere"
API = "/apis/pg-operator.dev/v1alpha1"
RBAC = "rbac.authorization.k8s.io"
ROLES: dict[str, list[Json]] = {
    role["metadata"]["name"]: role["rules"]
    for path in sorted((CONFIG / "users").glob("*.yaml"))
    for role in yaml.safe_load_all(path.read_text())
    if role["kind"] == "ClusterRole"
}
# They are bound in a namespace; the others' holders see every one.
OF_TENANTS = {"pg-operator-edit", "pg-operator-view"}
EXAMPLES: dict[str, Callable[[str], Json]] = {
    "databaseclusters": database_cluster,
    "databases": lambda name: database(name, "none"),
    "databaseroles": lambda name: database_role(name, "none"),
}
# In this order: the last one takes all objects away.
VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete"),
    "deletecollection",
)
each_role = pytest.mark.parametrize("role", ROLES)


def binding(role: str, *, everywhere: bool) -> Json:
    """Bind a ClusterRole to the account of its name, everywhere or in its namespace."""
    scope = {} if everywhere else {"namespace": NAMESPACE}
    subject = {"kind": "ServiceAccount", "name": role, "namespace": NAMESPACE}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding" if everywhere else "RoleBinding",
        "metadata": {"name": f"{role}-{NAMESPACE}", **scope},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def account(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }


BINDINGS = [binding(role, everywhere=role not in OF_TENANTS) for role in ROLES]


@pytest.fixture(scope="module")
def users(installation: Installation) -> Iterator[DeployedCluster]:
    """Two namespaces, and in one of them an account that holds each role."""
    cluster = installation.cluster
    for namespace in (NAMESPACE, ELSEWHERE):
        cluster.kubectl.run("create", "namespace", namespace)
    accounts = [account(role) for role in (*ROLES, "edit", "view")]
    cluster.kubectl.apply(documents(*accounts, *BINDINGS))
    yield cluster
    cluster.kubectl.run("delete", "databaseclusters", "--selector=e2e=users")
    cluster.kubectl.run("delete", "--filename=-", input=documents(*BINDINGS))
    cluster.kubectl.run("delete", "namespace", NAMESPACE, ELSEWHERE)


def api_of(cluster: DeployedCluster, user: str) -> Api:
    """Return the API server as the account of a user sees it."""
    plane = cluster.control_plane
    create = ("create", "token", user)
    token = cluster.kubectl_in(NAMESPACE).run(*create).strip()
    return Api(plane.url.removeprefix("https://"), ca=plane.ca, token=token)


def collection(plural: str, namespace: str = NAMESPACE) -> str:
    scope = "" if plural == "databaseclusters" else f"/namespaces/{namespace}"
    return f"{API}{scope}/{plural}"


def example(plural: str, name: str) -> Json:
    obj = EXAMPLES[plural](name)
    obj["metadata"]["labels"] = {"e2e": "users"}
    return obj


def prepare(cluster: DeployedCluster, plural: str, namespace: str = NAMESPACE) -> Json:
    """Apply an object for each verb that is about one; return the one to update."""
    objects = [example(plural, verb) for verb in ("get", "update", "patch", "delete")]
    kubectl = cluster.kubectl_in(namespace)
    kubectl.apply(documents(*objects))
    return dict(kubectl.get(f"{plural}/update"))


def do(api: Api, verb: str, path: str, update: Json) -> None:
    """Send a request of that verb. Raises ApiError."""
    match verb:
        case "get" | "delete":
            api.send(verb.upper(), f"{path}/{verb}")
        case "list":
            api.get(path)
        case "watch":
            next(api.watch(path, version="0"))
        case "create":
            metadata = {"name": "created", "labels": update["metadata"]["labels"]}
            api.create(path, {**update, "metadata": metadata})
        case "update":
            api.send("PUT", f"{path}/update", update)
        case "patch":
            api.merge(f"{path}/patch", {"metadata": {"labels": {"a": "b"}}})
        case _:
            api.send("DELETE", f"{path}?labelSelector=e2e%3Dusers")


def allowed(api: Api, verb: str, path: str, update: Json) -> bool:
    """Say whether the API server lets a user do this."""
    try:
        do(api, verb, path, update)
    except ApiError as error:
        # The operator may write in between, which is no question of rights.
        if error.code not in {HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT}:
            raise
        return error.code == HTTPStatus.CONFLICT
    return True


@each_role
def test_role_lets_its_holder_do_what_it_lists_and_nothing_else(
    users: DeployedCluster, role: str
) -> None:
    api = api_of(users, role)
    listed = {(one.verb, one.resource) for one in rights.rights_of(role, ROLES[role])}
    assert listed
    found = set()
    for plural in EXAMPLES:
        update, path = prepare(users, plural), collection(plural)
        found |= {(v, plural) for v in VERBS if allowed(api, v, path, update)}
    assert found == listed


@pytest.mark.parametrize("role", sorted(OF_TENANTS))
def test_role_of_a_tenant_ends_at_its_namespace(
    users: DeployedCluster, role: str
) -> None:
    api = api_of(users, role)
    for plural in ("databases", "databaseroles"):
        update = prepare(users, plural, ELSEWHERE)
        path = collection(plural, ELSEWHERE)
        assert [verb for verb in VERBS if allowed(api, verb, path, update)] == []


@each_role
def test_no_role_lets_its_holder_write_status(
    users: DeployedCluster, role: str
) -> None:
    api = api_of(users, role)
    for plural in EXAMPLES:
        update = prepare(users, plural)
        path = f"{collection(plural)}/update/status"
        with pytest.raises(ApiError, match="403"):
            api.merge(path, {"status": {"observedGeneration": 7}})
        with pytest.raises(ApiError, match="403"):
            api.send("PUT", path, update)


def test_finalizer_can_be_taken_by_who_may_change_an_object(
    users: DeployedCluster,
) -> None:
    """Only config/policy, which overlay `namespaced` is tried with, keeps it."""
    update, path = prepare(users, "databases"), collection("databases")
    assert update["metadata"]["finalizers"]
    taken = {"metadata": {"finalizers": None}}
    answer = api_of(users, "pg-operator-edit").merge(f"{path}/update", taken)
    assert "finalizers" not in answer["metadata"]


def test_every_right_of_the_roles_was_used(users: DeployedCluster) -> None:
    """By the audit log, after all the others."""
    granted = rights.granted(users.rendered(USERS) + BINDINGS)
    assert len({right.role for right in granted}) == len(ROLES)
    assert rights.unused(granted, users.requests()) == []


@pytest.mark.parametrize(("builtin", "verb"), [("view", "list"), ("edit", "create")])
def test_built_in_role_lets_use_databases_with_the_overlay_only(
    users: DeployedCluster, builtin: str, verb: str
) -> None:
    bound = documents(binding(builtin, everywhere=False))
    users.kubectl.apply(bound)
    api, path = api_of(users, builtin), collection("databases")
    update = prepare(users, "databases")

    def may(verb: str = verb) -> bool:
        return allowed(api, verb, path, update)

    assert wait_until(lambda: _may_list_pods(api), timeout=30)
    assert not may()
    users.kubectl.run("apply", "--server-side", f"--kustomize={CHECKOUT / AGGREGATED}")
    try:
        assert wait_until(may, timeout=30)
        assert builtin == "edit" or not may("create")
        assert not allowed(api, "list", collection("databaseclusters"), update)
    finally:
        source = f"--kustomize={CHECKOUT / USERS}"
        users.kubectl.run("apply", "--server-side", source)
        users.kubectl.run("delete", "--filename=-", input=bound)


def _may_list_pods(api: Api) -> bool:
    try:
        api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")
    except ApiError:
        return False
    return True
