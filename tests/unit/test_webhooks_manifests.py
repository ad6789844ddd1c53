"""The hand-written webhook configurations agree with what the process serves."""

from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml

from tests.unit.webhook_bed import no_claims
from webhooks.handlers import register

ROOM = Path(__file__).parents[2] / "config" / "webhook"
SCOPES = {
    "databaseclusters": "Cluster",
    "databases": "Namespaced",
    "databaseroles": "Namespaced",
}
POLICIES = {
    "MutatingWebhookConfiguration": ("mutate", "Ignore", 3),
    "ValidatingWebhookConfiguration": ("validate", "Fail", 5),
}


def documents(name: str) -> list[dict[str, Any]]:
    """Load a YAML file of the room."""
    return list(yaml.safe_load_all((ROOM / name).read_text()))


def configurations() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in documents("manifests.yaml")}


def webhooks() -> list[tuple[str, dict[str, Any]]]:
    """List every webhook with the kind of its configuration."""
    return [
        (kind, webhook)
        for kind, document in configurations().items()
        for webhook in document["webhooks"]
    ]


def test_configurations_call_exactly_the_registered_handlers_once_each() -> None:
    """A path that is no handler's would fail; one called twice would judge wrongly."""
    routes = register(kopf.OperatorRegistry(), claims=no_claims)
    paths = [webhook["clientConfig"]["service"]["path"] for _, webhook in webhooks()]
    assert sorted(paths) == sorted(f"/{webhook}" for webhook in routes)


def test_each_webhook_is_sent_the_resource_that_its_handler_judges() -> None:
    routes = register(kopf.OperatorRegistry(), claims=no_claims)
    for _, webhook in webhooks():
        path = webhook["clientConfig"]["service"]["path"]
        resource = routes[path.removeprefix("/")]
        assert webhook["rules"] == [
            {
                "apiGroups": [resource.group],
                "apiVersions": [resource.version],
                "operations": ["CREATE", "UPDATE"],
                "resources": [resource.plural],
                "scope": SCOPES[resource.plural],
            }
        ]


@pytest.mark.parametrize("kind", sorted(POLICIES))
def test_validating_fails_closed_and_mutating_open(kind: str) -> None:
    prefix, policy, timeout = POLICIES[kind]
    configuration = configurations()[kind]
    assert configuration["metadata"]["name"] == "pg-operator"
    for webhook in configuration["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        assert path.startswith(f"/{prefix}-")
        assert webhook["name"] == f"{path.removeprefix('/')}.pg-operator.dev"
        assert webhook["failurePolicy"] == policy
        assert webhook["timeoutSeconds"] == timeout
        assert webhook["sideEffects"] == "None"
        assert webhook["matchPolicy"] == "Equivalent"
        assert webhook["admissionReviewVersions"] == ["v1"]


def test_our_own_writes_and_deletions_pass_every_webhook_by() -> None:
    """Finalizers, status and labels must be writable while the webhook is down."""
    for _, webhook in webhooks():
        conditions = {
            condition["name"]: condition["expression"]
            for condition in webhook["matchConditions"]
        }
        assert conditions == {
            "not-being-deleted": "!has(object.metadata.deletionTimestamp)",
            "created-or-spec-changed": (
                "request.operation == 'CREATE' "
                "|| !has(object.spec) || !has(oldObject.spec) "
                "|| object.spec != oldObject.spec"
            ),
        }


def test_objects_of_every_namespace_are_judged_as_all_are_worked_on() -> None:
    """Also of the operator's own: what the controller acts on is never unjudged."""
    for _, webhook in webhooks():
        assert not {"namespaceSelector", "objectSelector"} & webhook.keys()


def test_certificate_bundle_is_left_to_whoever_injects_it() -> None:
    """A field in the manifests would be drift to every GitOps tool."""
    for _, webhook in webhooks():
        assert set(webhook["clientConfig"]) == {"service"}


def test_service_is_the_one_that_the_webhooks_call() -> None:
    (service,) = documents("service.yaml")
    called = {
        (
            webhook["clientConfig"]["service"]["namespace"],
            webhook["clientConfig"]["service"]["name"],
            webhook["clientConfig"]["service"]["port"],
        )
        for _, webhook in webhooks()
    }
    (port,) = service["spec"]["ports"]
    metadata = service["metadata"]
    assert called == {(metadata["namespace"], metadata["name"], port["port"])}
    assert port["targetPort"] == 9443


def test_kustomization_lists_every_file_of_the_room() -> None:
    (kustomization,) = documents("kustomization.yaml")
    files = {path.name for path in ROOM.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
