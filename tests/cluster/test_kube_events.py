"""`kubectl describe` shows what happened, once, and never in anybody's way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.events import Events
from tests.cluster.kube_bed import connected, make_owner
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl

BEGIN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOON = timedelta(minutes=4)
LATER = timedelta(minutes=6)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        """Stand at the beginning."""
        self.now = BEGIN

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


@pytest.fixture
async def kubernetes(cluster: LocalCluster) -> AsyncIterator[Kubernetes]:
    async with connected(cluster) as kubernetes:
        yield kubernetes


@pytest.fixture
def database(namespace: str) -> dict[str, Any]:
    """What Events are about; it need not be there."""
    metadata = {"name": "orders", "namespace": namespace, "uid": namespace}
    return {
        "apiVersion": "pg-operator.dev/v1alpha1",
        "kind": "Database",
        "metadata": {**metadata, "resourceVersion": "1"},
    }


def posted(kubectl: Kubectl, reason: str) -> list[dict[str, Any]]:
    """Return the stored Events with a reason, in the order of their messages."""
    found = kubectl.get("events", f"--field-selector=reason={reason}")["items"]
    return sorted(found, key=lambda event: str(event["message"]))


async def test_event_is_shown_with_its_object(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    name = make_owner(kubectl, namespace, "orders").name
    database = await kubernetes.read(("Database", namespace, name))
    assert database is not None
    await Events(kubernetes).post(database, "Normal", "Tried", "Tried something")
    assert "Tried something" in kubectl.run("describe", "database", name)
    (event,) = posted(kubectl, "Tried")
    assert event["involvedObject"]["uid"] == database["metadata"]["uid"]
    assert (event["type"], event["count"]) == ("Normal", 1)
    assert event["reportingComponent"] == "pg-operator.dev/controller"


async def test_repeated_event_is_counted_now_and_then(
    cluster: LocalCluster,
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    database: dict[str, Any],
) -> None:
    clock = Clock()
    events = Events(kubernetes, now=clock)
    mark = cluster.audit_mark()
    for step in (timedelta(), SOON, LATER, SOON, LATER):
        clock.now += step
        await events.post(database, "Warning", "Tried", "Tried in vain")
    (event,) = posted(kubectl, "Tried")
    assert event["count"] == 5
    assert event["firstTimestamp"] == "2026-11-24T12:00:00Z"
    assert event["lastTimestamp"] == "2026-11-24T12:20:00Z"
    verbs = [
        request.verb
        for request in cluster.requests_since(mark)
        if request.resource == "events" and request.name == event["metadata"]["name"]
    ]
    assert verbs.count("patch") == 2


async def test_another_process_goes_on_with_the_same_event(
    kubernetes: Kubernetes, kubectl: Kubectl, database: dict[str, Any]
) -> None:
    """Also one that is started again at once: it cannot know when it was written."""
    clock = Clock()
    for _ in range(3):
        events = Events(kubernetes, now=clock)
        await events.post(database, "Warning", "Tried", "Tried in vain")
        clock.now += SOON
    (event,) = posted(kubectl, "Tried")
    assert event["count"] == 3
    assert event["firstTimestamp"] == "2026-11-24T12:00:00Z"
    assert event["lastTimestamp"] == "2026-11-24T12:08:00Z"
    clock.now += LATER
    await events.post(database, "Warning", "Tried", "Tried in vain")
    (event,) = posted(kubectl, "Tried")
    assert event["count"] == 4


async def test_event_that_was_forgotten_is_posted_again(
    kubernetes: Kubernetes, kubectl: Kubectl, database: dict[str, Any]
) -> None:
    clock = Clock()
    events = Events(kubernetes, now=clock)
    await events.post(database, "Warning", "Tried", "Tried in vain")
    (event,) = posted(kubectl, "Tried")
    kubectl.run("delete", "event", event["metadata"]["name"])
    clock.now += LATER
    await events.post(database, "Warning", "Tried", "Tried in vain")
    assert len(posted(kubectl, "Tried")) == 1


async def test_other_words_are_another_event(
    kubernetes: Kubernetes, kubectl: Kubectl, database: dict[str, Any]
) -> None:
    events = Events(kubernetes)
    await events.post(database, "Normal", "Tried", "one")
    await events.post(database, "Normal", "Tried", "two")
    assert [event["message"] for event in posted(kubectl, "Tried")] == ["one", "two"]


async def test_long_message_is_cut_between_characters(
    kubernetes: Kubernetes, kubectl: Kubectl, database: dict[str, Any]
) -> None:
    await Events(kubernetes).post(database, "Normal", "Tried", "ä" * 2000)
    (event,) = posted(kubectl, "Tried")
    assert len(event["message"].encode()) <= 1024
    assert event["message"] == "ä" * 510 + "…"


async def test_object_without_namespace_has_its_events_in_default(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    cluster_object = {
        "apiVersion": "pg-operator.dev/v1alpha1",
        "kind": "DatabaseCluster",
        "metadata": {"name": namespace, "uid": namespace, "resourceVersion": "1"},
    }
    await Events(kubernetes).post(cluster_object, "Normal", "Tried", "Tried it")
    selector = f"--field-selector=involvedObject.name={namespace}"
    (event,) = kubectl.get("events", "--namespace=default", selector)["items"]
    assert event["message"] == "Tried it"


async def test_failure_is_logged_and_goes_no_further(
    cluster: LocalCluster,
    kubectl: Kubectl,
    database: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(cluster, cluster.control_plane.webhook) as nobody:
        await Events(nobody).post(database, "Normal", "Tried", "Tried it")
    assert 'cannot create resource "events"' in caplog.text
    assert posted(kubectl, "Tried") == []


async def test_terminating_namespace_takes_no_event_and_nobody_minds(
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    namespace: str,
    database: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold = '{"metadata": {"finalizers": ["test.example/hold"]}}'
    kubectl.run("create", "configmap", "held")
    kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={hold}")
    kubectl.run("delete", "namespace", namespace, "--wait=false")
    try:
        await Events(kubernetes).post(database, "Normal", "Tried", "Tried it")
    finally:
        free = '{"metadata": {"finalizers": null}}'
        kubectl.run("patch", "configmap", "held", "--type=merge", f"--patch={free}")
    assert "Event" not in caplog.text
