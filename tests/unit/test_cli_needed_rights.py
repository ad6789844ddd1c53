"""`pg-operator check` asks for the rights that what is installed needs."""

from collections.abc import Sequence
from typing import Any

from pg_operator.cli.needed_rights import CONTROLLER, WEBHOOK, needed_rights

OWN = "pg-operator-system"


def deployment(account: str, *arguments: str) -> dict[str, Any]:
    pod = {"serviceAccountName": account, "containers": [{"args": list(arguments)}]}
    return {"spec": {"template": {"spec": pod}}}


def needed(
    *deployments: dict[str, Any], namespaces: Sequence[str] = ()
) -> dict[str, list[str]]:
    found = needed_rights(deployments, namespace=OWN, namespaces=frozenset(namespaces))
    return {name: [str(right) for right in rights] for name, rights in found.items()}


def test_both_accounts_are_looked_at_where_there_are_no_deployments() -> None:
    rights = needed()
    assert "get secrets" in rights[CONTROLLER]
    assert "list databases.pg-operator.dev" in rights[WEBHOOK]
    assert not [right for right in rights[WEBHOOK] if "secrets" in right]


def test_rights_for_tenants_are_needed_where_the_controller_works() -> None:
    chosen = needed(deployment(CONTROLLER, "controller", "--namespaces=a,b"))
    for rights in (chosen[CONTROLLER], needed(namespaces=["a", "b"])[CONTROLLER]):
        assert {"get secrets in namespace a", "get secrets in namespace b"} < {*rights}
        assert "get secrets" not in rights
    assert WEBHOOK not in chosen


def test_webhook_that_looks_after_its_certificates_needs_more() -> None:
    patch = (
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/pg-operator"
    )
    own = needed(deployment(WEBHOOK, "webhook", "--certs=self"))[WEBHOOK]
    assert f"create secrets in namespace {OWN}" in own
    assert patch in own
    assert patch not in needed(deployment(WEBHOOK, "webhook"))[WEBHOOK]


def test_one_process_needs_what_both_do() -> None:
    both = needed(deployment(CONTROLLER, "run", "--certs=self"))
    assert set(both) == {CONTROLLER}
    assert set(needed()[CONTROLLER]) | set(needed()[WEBHOOK]) < set(both[CONTROLLER])
