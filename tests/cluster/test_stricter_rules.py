"""What a version let pass can be changed under a stricter one, except for the worse."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from pg_operator.api.specs import PLURALS, Kind
from tests.cluster.objects import database, database_cluster, database_role, documents
from tests.cluster.unguarded import crd_text, without_admission
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

Json = dict[str, Any]
EXAMPLES: Mapping[Kind, Callable[[str], Json]] = {
    "DatabaseCluster": database_cluster,
    "Database": lambda name: database(name, "none"),
    "DatabaseRole": lambda name: database_role(name, "none"),
}


@contextmanager
def without_rules(kubectl: Kubectl, probe: Json) -> Iterator[None]:
    """Serve a kind by a CRD without CEL rules, under which the probe is let pass."""
    text = crd_text(probe["kind"])
    crd = yaml.safe_load(text)
    _loosen(crd)
    options = ("--server-side", "--force-conflicts")

    def passes() -> bool:
        done = kubectl("create", "--dry-run=server", "-f-", input=documents(probe))
        return done.returncode == 0

    try:
        kubectl.apply(yaml.safe_dump(crd), *options)
        assert wait_until(passes, timeout=30)
        yield
    finally:
        kubectl.apply(text, *options)
        assert wait_until(lambda: not passes(), timeout=30)


def _loosen(node: Any) -> None:
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict):
            value.pop("x-kubernetes-validations", None)
        if isinstance(value, dict | list):
            _loosen(value)


def columns_of_all(privilege: str) -> list[Json]:
    """Permissions with a column of all tables, and a privilege on these tables."""
    columns = [{"name": "id", "privileges": ["UPDATE"]}]
    table = {"name": "*", "privileges": [privilege], "columns": columns}
    schema = {"name": "app", "privileges": ["USAGE"], "tables": [table]}
    connect = {"database": "app", "privileges": ["CONNECT"]}
    return [{**connect, "schemas": [schema]}, {**connect, "database": "other"}]


# Of each kind a spec that breaks rules for the whole spec, for an object in it, for a
# field, and of the webhook alone; what is changed in it, and where it stays wrong.
STORED_BEFORE: tuple[tuple[Kind, Json, Json, set[str]], ...] = (
    (
        "DatabaseCluster",
        {
            "connection": {"name": "Not_One", "key": "a"},
            "allowedNamespaces": {"from": "All", "names": ["a"]},
            "adoption": {"policy": "Never", "databases": [], "roles": []},
            "resyncInterval": "1s",
        },
        {
            "maxConnections": 3,
            "connection": {"key": "b"},
            "allowedNamespaces": {"names": ["a", "b"]},
            "adoption": {"policy": "Released"},
        },
        {
            "spec.connection.name",
            "spec.allowedNamespaces.names",
            "spec.adoption.databases",
            "spec.adoption.roles",
            "spec.resyncInterval",
        },
    ),
    (
        "Database",
        {
            "schema": "app",
            "schemas": [{"name": "audit"}],
            "timezone": "UTC",
            "parameters": {"timezone": "UTC", "search_path": "a\nb"},
            "localeProvider": "icu",
            "databaseServiceName": "kubernetes",
            "allowedNamespaces": {"from": "Same", "names": ["a"]},
        },
        {"connectionLimit": 3, "allowedNamespaces": {"names": ["a", "b"]}},
        {
            "spec.schema",
            "spec.timezone",
            "spec.parameters[search_path]",
            "spec.locale",
            "spec.databaseServiceName",
            "spec.allowedNamespaces.names",
        },
    ),
    (
        "DatabaseRole",
        {
            "password": {"name": "Not_One", "key": "a"},
            "generatePassword": True,
            "connectionSecret": {"name": "Not_One"},
            "permissions": columns_of_all("SELECT"),
        },
        {
            "connectionLimit": 3,
            "password": {"key": "b"},
            "permissions": columns_of_all("INSERT"),
        },
        {
            "spec.password.name",
            "spec.generatePassword",
            "spec.connectionSecret.name",
            "spec.connectionSecret.database",
            "spec.permissions[0].schemas[0].tables[0].columns",
        },
    ),
)


def patch(
    kubectl: Kubectl, target: str, changes: Json
) -> "subprocess.CompletedProcess[str]":
    text = json.dumps({"spec": changes})
    return kubectl("patch", target, "--type=merge", f"--patch={text}")


@pytest.mark.parametrize(
    ("kind", "spec", "change", "wrong"), STORED_BEFORE, ids=list(PLURALS)
)
def test_rule_that_got_stricter_stops_no_change_of_something_else(
    kubectl: Kubectl,
    namespace: str,
    kind: Kind,
    spec: Json,
    change: Json,
    wrong: set[str],
) -> None:
    old = EXAMPLES[kind](namespace)
    old["spec"] |= spec
    with without_admission(kubectl), without_rules(kubectl, old):
        kubectl.apply(documents(old))

    done = patch(kubectl, f"{kind.lower()}/{namespace}", change)

    assert done.returncode == 0, done.stderr
    warned = [line.removeprefix("Warning: ") for line in done.stderr.splitlines()]
    said = {line.partition(": ")[0] for line in warned}
    assert {path for path in said if path.startswith("spec.")} == wrong


def test_stored_fault_may_not_turn_into_another(
    kubectl: Kubectl, namespace: str
) -> None:
    old = database(namespace, "none", databaseServiceName="kubernetes")
    with without_admission(kubectl), without_rules(kubectl, old):
        kubectl.apply(documents(old))
    worse = {"databaseServiceName": "Not_One"}
    refused = patch(kubectl, f"database/{namespace}", worse)
    assert "spec.databaseServiceName: Invalid value" in refused.stderr
