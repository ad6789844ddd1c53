"""Rights are read from roles, and asked of the API server."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from pg_operator.cli.report import Finding, report
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import Forbidden
from pg_operator.kube.rights import Right, account_name, has_right, rights_of
from tests.unit.kube_bed import fake_api_server, refuses, says

ROLE: dict[str, Any] = {
    "rules": [
        {"apiGroups": [""], "resources": ["services", "events"], "verbs": ["get"]},
        {
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "resourceNames": ["a", "b"],
            "verbs": ["get", "patch"],
        },
    ],
}


def test_role_gives_each_verb_on_each_resource_where_it_is_bound() -> None:
    assert [str(right) for right in rights_of(ROLE, namespaces=[""])] == [
        "get services",
        "get events",
        "get deployments.apps/a",
        "patch deployments.apps/a",
        "get deployments.apps/b",
        "patch deployments.apps/b",
    ]
    bound = list(rights_of(ROLE, namespaces=["here", "there"]))
    assert str(bound[0]) == "get services in namespace here"
    assert str(bound[-1]) == "patch deployments.apps/b in namespace there"


@pytest.mark.parametrize("allowed", [True, False])
async def test_right_of_an_account_is_asked_for_with_its_groups(
    tmp_path: Path, *, allowed: bool
) -> None:
    right = Right("patch", "pg-operator.dev", "databases/status", "shop")
    account = account_name("system", "controller")
    async with fake_api_server(tmp_path, says({"status": {"allowed": allowed}})) as api:
        async with await Kubernetes.connect(str(api.kubeconfig)) as kubernetes:
            assert await has_right(kubernetes, right, account=account) is allowed
        (request,) = api.requests
        spec = json.loads(await request.read())["spec"]
    assert request.path.endswith("/subjectaccessreviews")
    assert spec["user"] == "system:serviceaccount:system:controller"
    assert "system:serviceaccounts:system" in spec["groups"]
    assert spec["resourceAttributes"] == {
        "verb": "patch",
        "group": "pg-operator.dev",
        "resource": "databases",
        "subresource": "status",
        "namespace": "shop",
        "name": "",
    }


async def test_own_right_is_asked_for_without_a_name(tmp_path: Path) -> None:
    right = Right("get", "", "secrets")
    async with fake_api_server(tmp_path, says({"status": {}}), refuses(403)) as api:
        async with await Kubernetes.connect(str(api.kubeconfig)) as kubernetes:
            assert not await has_right(kubernetes, right, account=None)
            with pytest.raises(Forbidden):
                await has_right(kubernetes, right, account=None)
        request = api.requests[0]
        assert "user" not in json.loads(await request.read())["spec"]
    assert request.path.endswith("/selfsubjectaccessreviews")


def test_report_ends_with_an_error_when_there_is_a_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report([Finding("one"), Finding("two", note="so it is")])
    with pytest.raises(click.exceptions.Exit) as ended:
        report([Finding("three", "mend it")])
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert said == "ok   one\nok   two: so it is\nFAIL three: mend it\n"
