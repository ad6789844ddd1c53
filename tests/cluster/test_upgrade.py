"""A version with a stricter rule takes nothing from anybody when it comes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.bench.client import is_ready
from tests.cluster.counts import counted_statements, counted_writes, wait_idle
from tests.cluster.items import delete_items
from tests.cluster.next_version import DETAIL, REFUSED
from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_role,
    documents,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.processes import python_module

DATABASES: Final = 4
# Of what each role has, so that the others are not touched by the rule.
TOUCHED: Final = ["CONNECT", REFUSED]
UNTOUCHED: Final = ["CONNECT", "CREATE"]


@contextmanager
def next_version(cluster: LocalCluster) -> Iterator[None]:
    """Run both processes as the next version in the block."""
    processes = (cluster.webhook, cluster.controller)
    present = [process.component for process in processes]
    module = "tests.cluster.next_version"
    try:
        for process, component in zip(processes, present, strict=True):
            process.stop()
            argv = python_module(module, *component.argv[1:])
            cluster.run(replace(component, argv=argv))
        yield
    finally:
        for process, component in zip(processes, present, strict=True):
            process.stop()
            cluster.run(component)


@pytest.mark.parametrize(
    "count",
    [20, pytest.param(500, marks=(pytest.mark.slow, pytest.mark.timeout(1800)))],
)
def test_stricter_version_tells_whom_it_concerns_and_takes_nothing(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, count: int
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    names = [f"{namespace}-{number}" for number in range(DATABASES)]
    databases = [database(name, namespace, deletionPolicy="Delete") for name in names]
    roles = [
        a_role(f"{namespace}-role-{number}", namespace, number)
        for number in range(count - DATABASES)
    ]
    kubectl.apply(documents(*databases, *roles))
    touched = {role["metadata"]["name"] for role in roles[::2]}
    for kind in ("databases", "databaseroles"):
        kubectl.wait(kind, "condition=Ready", "--all", timeout=600)
    wait_idle(cluster)
    before, granted = versions(kubectl), held(cluster, names)

    everything = {"database": DATABASES, "databaserole": len(roles)}
    with ExitStack() as upgraded:
        with counted_statements(cluster) as statements, counted_writes(cluster) as new:
            upgraded.enter_context(next_version(cluster))
            wait_idle(cluster, at_least=everything, timeout=600)
        assert statements.written == {}
        assert statements.transaction_ids == 0
        assert new.objects == {"patch databaseroles/status": len(touched)}
        after = versions(kubectl)
        assert {name for name in before if after[name] != before[name]} == touched
        assert held(cluster, names) == granted
        assert not_ready(kubectl) == touched

        late = a_role(f"{namespace}-late", namespace, 0)
        refused = kubectl("create", "-f-", input=documents(late))
        assert DETAIL in refused.stderr
        target = f"databaserole/{min(touched)}"
        change = json.dumps({"spec": {"connectionLimit": 7}})
        kubectl.run("patch", target, "--type=merge", f"--patch={change}")
        kubectl.wait(target, "jsonpath={.status.observedGeneration}=2")
        assert held(cluster, names) == granted

    wait_idle(cluster, at_least=everything, timeout=600)
    assert not_ready(kubectl) == set()
    assert held(cluster, names) == granted
    delete_items(kubectl, timeout=600)


def versions(kubectl: Kubectl) -> dict[str, str]:
    """Return the resource version of each Database and DatabaseRole."""
    return {
        obj["metadata"]["name"]: obj["metadata"]["resourceVersion"]
        for obj in kubectl.get("databases,databaseroles")["items"]
    }


def not_ready(kubectl: Kubectl) -> set[str]:
    """Return those that are not Ready, which have to say why."""
    objects = kubectl.get("databases,databaseroles")["items"]
    found = {obj["metadata"]["name"]: obj for obj in objects if not is_ready(obj)}
    silent = [name for name, obj in found.items() if DETAIL not in str(obj["status"])]
    assert silent == []
    return set(found)


def held(cluster: LocalCluster, names: Sequence[str]) -> Mapping[str, Any]:
    """Return who may do what on the databases."""
    quoted = ", ".join(f"'{name.replace('-', '_')}'" for name in names)
    query = "SELECT datname, datacl::text FROM pg_database WHERE datname IN"
    return dict(administer(cluster, "postgres", f"{query} ({quoted})"))


def a_role(name: str, cluster: str, number: int) -> dict[str, Any]:
    """One of many roles, of which every second has what the next version refuses."""
    words = UNTOUCHED if number % 2 else TOUCHED
    place = f"{cluster}-{number % DATABASES}".replace("-", "_")
    permission = {"database": place, "privileges": words}
    spec = {"permissions": [permission], "deletionPolicy": "Delete"}
    return database_role(name, cluster, **spec)
