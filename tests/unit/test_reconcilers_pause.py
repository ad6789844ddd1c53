"""What the annotation `pg-operator.dev/reconcile` makes of objects and their status."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pg_operator.api.conditions import Reason
from pg_operator.plan.state import Pending
from pg_operator.postgres.script import Statement
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Outcome
from pg_operator.reconcilers.pause import Mode, Pause, find_pause
from pg_operator.reconcilers.paused import paused_outcome, planned_outcome
from pg_operator.reconcilers.planning import Draft
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reconcile import Reconcilers
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.status import status_patch
from tests.unit.runtime_bed import a_cluster, a_database, database_key

Json = dict[str, Any]
PAUSED = Pause(Mode.PAUSED, "annotation")
PLAN = Pause(Mode.PLAN, "annotation")


def annotated(value: str | None) -> Json:
    return (
        {} if value is None else {"annotations": {"pg-operator.dev/reconcile": value}}
    )


def mode_of(own: str | None, of_cluster: str | None) -> Mode | None:
    cache = Cache()
    cache.put("DatabaseCluster", a_cluster(**annotated(of_cluster)))
    pause = find_pause(cache, a_database("orders", **annotated(own)))
    return None if pause is None else pause.mode


@pytest.mark.parametrize(
    ("own", "of_cluster", "mode"),
    [
        (None, None, None),
        ("Paused", None, Mode.PAUSED),
        ("Plan", None, Mode.PLAN),
        (None, "Paused", Mode.PAUSED),
        (None, "Plan", Mode.PLAN),
        ("Plan", "Paused", Mode.PAUSED),
        ("Paused", "Plan", Mode.PAUSED),
        ("paused", None, Mode.PAUSED),
        ("", None, Mode.PAUSED),
        (None, "off", Mode.PAUSED),
        ("Plan", "false", Mode.PAUSED),
    ],
)
def test_of_two_annotations_the_careful_one_counts(
    own: str | None, of_cluster: str | None, mode: Mode | None
) -> None:
    assert mode_of(own, of_cluster) is mode


def test_value_that_nobody_knows_is_told() -> None:
    pause = find_pause(Cache(), a_database("orders", **annotated("pasued")))
    assert pause is not None
    assert "neither Paused nor Plan" in pause.annotation


@pytest.mark.parametrize("spec", [{}, {"databaseClusterRef": {"name": ["main"]}}])
def test_object_that_names_no_cluster_is_held_by_its_own_annotation(spec: Json) -> None:
    obj = {**a_database("orders", **annotated("Paused")), "spec": spec}
    pause = find_pause(Cache(), obj)
    assert pause is not None
    assert pause.mode is Mode.PAUSED


def ready(generation: int = 1, observed: int = 1, **metadata: Any) -> Json:
    """Return a Database whose status says that one of its specs is true."""
    condition = {"type": "Ready", "status": "True", "reason": "Reconciled"}
    status = {"observedGeneration": observed, "conditions": [condition]}
    return a_database("orders", generation=generation, status=status, **metadata)


def said(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in outcome.conditions}


def test_what_was_ready_stays_ready_while_it_is_paused() -> None:
    """Or pausing would fail whoever waits for a whole release."""
    outcome = paused_outcome(ready(), PAUSED)
    assert said(outcome) == {"Ready": ("True", "Paused"), "Paused": ("True", "Paused")}
    assert not outcome.release


@pytest.mark.parametrize(
    "obj", [ready(generation=2), a_database("orders"), ready(deletionTimestamp="now")]
)
def test_what_waits_for_the_end_of_a_pause_is_not_ready(obj: Json) -> None:
    outcome = paused_outcome(obj, PAUSED)
    assert said(outcome) == {
        "Ready": ("False", "Paused"),
        "Stalled": ("True", "Paused"),
        "Paused": ("True", "Paused"),
    }
    assert not outcome.release


def test_deletion_that_waits_says_how_to_let_go() -> None:
    message = paused_outcome(ready(deletionTimestamp="now"), PAUSED).conditions[0]
    assert "its deletion waits" in message.message
    assert "pg-operator.dev/release=true" in message.message


def test_observed_generation_is_written_all_the_same() -> None:
    obj = ready(generation=2)
    patch = status_patch(obj, paused_outcome(obj, PAUSED), generation=2, now="now")
    assert patch is not None
    assert patch["observedGeneration"] == 2


NOTHING = Draft()
SOMETHING = Draft((Statement("CREATE ROLE app"),))
MARKED = Draft((Statement("COMMENT ON ROLE app IS '<mark>'", is_mark=True),))
REFUSED = Draft(MARKED.statements, refused=Blocked(Reason.NOT_ALLOWED, "shut out"))
WAITING = Draft(pending=(Pending("spec.owner", Reason.ROLE_NOT_READY, "not made yet"),))


@pytest.mark.parametrize(
    ("draft", "status"),
    [
        (NOTHING, "True"),
        (MARKED, "True"),
        (SOMETHING, "False"),
        (WAITING, "False"),
        (REFUSED, "False"),
    ],
)
def test_planned_object_is_ready_only_with_nothing_to_do(
    draft: Draft, status: str
) -> None:
    assert said(planned_outcome(ready(), PLAN, draft))["Ready"] == (status, "Planned")


def test_plan_shows_marks_and_does_not_count_them() -> None:
    draft = Draft((*SOMETHING.statements, *MARKED.statements))
    outcome = planned_outcome(ready(), PLAN, draft)
    plan = outcome.status["plan"]
    assert (plan["statements"], len(plan["sql"])) == (1, 2)
    assert "1 statements would be run, besides writing a mark" in (
        outcome.conditions[0].message
    )


def test_plan_says_what_waits() -> None:
    message = planned_outcome(ready(), PLAN, WAITING).conditions[0].message
    assert "pending: spec.owner: not made yet" in message


def test_plan_of_what_only_loses_says_why_it_does_nothing_else() -> None:
    message = planned_outcome(ready(), PLAN, REFUSED).conditions[0].message
    assert "nothing else would be: shut out" in message


def test_plan_in_a_status_has_an_end() -> None:
    many = tuple(Statement("§" * 5000, database="orders") for _ in range(100))
    plan = planned_outcome(ready(), PLAN, Draft(many)).status["plan"]
    assert (plan["statements"], len(plan["sql"])) == (100, 64)
    assert {len(one["statement"]) for one in plan["sql"]} == {2048}
    assert plan["sql"][0]["statement"].endswith("…")


async def test_nothing_is_planned_where_the_operator_does_not_work() -> None:
    """Or a namespace that is shut out would still read the server by plans."""
    cache = Cache()
    cache.put("Database", a_database("orders", **annotated("Plan")))
    context = cast("Context", SimpleNamespace(objects=cache))
    settings = Settings(namespace="operators", namespaces=frozenset({"bank"}))
    outcome = await Reconcilers(context, settings).reconcile(database_key("orders"))
    assert "plan" not in outcome.status
    assert "does not work in namespace 'shop'" in outcome.conditions[0].message
    assert said(outcome)["Ready"] == ("False", "Planned")
