"""The API server can afford our rules, and none stops an unrelated change."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pg_operator.api.specs import PLURALS, Kind
from tests.cluster.objects import (
    database,
    documents,
)
from tests.cluster.test_admission import without_admission
from tests.errors import CHECKOUT
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

Json = dict[str, Any]
FACTORS: Final = (1, 2, 4, 8, 16, 32)


def crd_file(kind: Kind) -> Path:
    return CHECKOUT / "crds" / f"pg-operator.dev_{PLURALS[kind]}.yaml"


@pytest.mark.parametrize("kind", list(PLURALS))
def test_rules_of_a_crd_could_cost_twice_as_much(
    cluster: LocalCluster, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    """The API server tells no cost, but refuses a CRD whose lists cost too much."""
    text = crd_file(kind).read_text(encoding="utf-8")
    accepted = [factor for factor in FACTORS if _fits(cluster.kubectl, text, factor)]
    with capsys.disabled():
        most = max(accepted, default=0)
        print(f"\n{kind}: CEL budget holds with lists {most} times as long")  # noqa: T201
    assert {1, 2} <= set(accepted)


def _fits(kubectl: Kubectl, text: str, factor: int) -> bool:
    crd = yaml.safe_load(text)
    _lengthen(crd, factor)
    options = ("--server-side", "--force-conflicts", "--dry-run=server")
    done = kubectl("apply", "--filename=-", *options, input=yaml.safe_dump(crd))
    assert done.returncode == 0 or "cost" in done.stderr, done.stderr
    return done.returncode == 0


def _lengthen(node: Any, factor: int) -> None:
    """Multiply every maxItems that is a limit, not a rule of its own."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict) and value.get("type") == "array":
            value["maxItems"] *= factor
        if isinstance(value, dict | list):
            _lengthen(value, factor)


@contextmanager
def with_crd(
    kubectl: Kubectl, edit: Callable[[Json], None], probe: Json
) -> Iterator[None]:
    """Serve Databases by an edited CRD, under which the probe is let pass."""
    text = crd_file("Database").read_text(encoding="utf-8")
    crd = yaml.safe_load(text)
    edit(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
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


def test_rule_that_got_stricter_stops_no_change_of_something_else(
    kubectl: Kubectl, namespace: str
) -> None:
    """Rules for the whole spec, for a field, and those of the webhook alone."""
    old = database(
        namespace,
        namespace,
        schema="app",
        schemas=[{"name": "audit"}],
        timezone="UTC",
        parameters={"timezone": "UTC", "search_path": "a\nb"},
        databaseServiceName="kubernetes",
    )

    def loosen(spec: Json) -> None:
        del spec["x-kubernetes-validations"]
        del spec["properties"]["databaseServiceName"]["x-kubernetes-validations"]

    with without_admission(kubectl), with_crd(kubectl, loosen, old):
        kubectl.apply(documents(old))
    target = f"database/{namespace}"
    patch = json.dumps({"spec": {"connectionLimit": 3}})
    done = kubectl("patch", target, "--type=merge", f"--patch={patch}")

    assert done.returncode == 0, done.stderr
    warned = [line.removeprefix("Warning: ") for line in done.stderr.splitlines()]
    assert {line.partition(": ")[0] for line in warned} == {
        "spec.schema",
        "spec.timezone",
        "spec.parameters[search_path]",
        "spec.databaseServiceName",
    }
    worse = json.dumps({"spec": {"databaseServiceName": "Not_One"}})
    refused = kubectl("patch", target, "--type=merge", f"--patch={worse}")
    assert "spec.databaseServiceName: Invalid value" in refused.stderr
