"""The controller of overlay `namespaced`: rights in one namespace of two."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.objects import (
    connect_cluster,
    database,
    database_role,
    documents,
    password_secret,
)
from tests.cluster.standins import arguments, run_as_administrator, standing_in
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.config import CONFIG, render
from tests.localcluster.kubectl import Kubectl

TENANTS = "pg-operator-tenants"


@pytest.fixture
def elsewhere(cluster: LocalCluster) -> Iterator[Kubectl]:
    """Have a second namespace; return kubectl in it."""
    name = f"t{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", name)
    yield cluster.kubectl_in(name)
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def chosen(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> Iterator[str]:
    """Have the controller work in the test's namespace only."""
    program = kubectl.program
    overlay = render(program, CONFIG / "overlays" / "namespaced")
    names = [(one["kind"], one["metadata"]["name"]) for one in overlay]
    assert ("ClusterRoleBinding", TENANTS) not in names
    bind = render(program, CONFIG / "overlays" / "namespaced" / "tenant")
    kubectl.apply(yaml.safe_dump_all(bind))
    cluster.kubectl.run("delete", "clusterrolebinding", TENANTS)
    options = [
        *arguments(cluster.controller, without=("--connection-namespaces=",)),
        f"--namespaces={namespace}",
    ]
    rbac = f"--kustomize={CONFIG / 'rbac'}"
    with standing_in(
        cluster,
        "controller",
        options,
        parts=[cluster.controller],
        log=tmp_path / "log",
    ):
        try:
            yield namespace
        finally:
            # Before the bed's own controller comes back.
            cluster.kubectl.run("apply", "--server-side", rbac)


def test_controller_works_where_it_has_rights_and_nowhere_else(
    cluster: LocalCluster, kubectl: Kubectl, chosen: str, elsewhere: Kubectl
) -> None:
    mark = cluster.audit_mark()
    connect_cluster(cluster, kubectl, chosen)
    role = database_role(f"{chosen}-one", chosen, password={"name": "pw"})
    objects = [
        password_secret("pw", "a-pa55word"),
        role,
        database(chosen, chosen, databaseServiceName="pg", deletionPolicy="Delete"),
    ]
    kubectl.apply(documents(*objects))
    kubectl.wait(f"databaserole/{chosen}-one", "condition=Ready")
    kubectl.wait(f"database/{chosen}", "condition=Ready")

    theirs = database_role(f"{chosen}-two", chosen, password={"name": "pw"})
    elsewhere.apply(documents(password_secret("pw", "a-pa55word"), theirs))
    target = f"databaserole/{chosen}-two"
    elsewhere.wait(target, "condition=Ready=False")
    (ready,) = [
        one
        for one in elsewhere.get(target)["status"]["conditions"]
        if one["type"] == "Ready"
    ]
    assert ready["reason"] == "NotAllowed"
    assert "add it to --namespaces" in ready["message"]
    elsewhere.run("delete", target)

    here = run_as_administrator(cluster, "check", f"--namespaces={chosen}").stdout
    assert "ok   rights of" in here
    everywhere = run_as_administrator(cluster, "check").stdout
    assert "missing: get secrets, list secrets, watch secrets" in everywhere

    kubectl.run("delete", "database", chosen)
    kubectl.run("delete", f"databaserole/{chosen}-one")
    user = cluster.control_plane.controller.user
    requests = cluster.requests_since(mark, user=user)
    assert [one for one in requests if one.code in {401, 403}] == []
