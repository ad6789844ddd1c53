"""What is written of an outcome: the difference, or nothing."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pg_operator.api.conditions import Condition, Reason
from pg_operator.reconcilers.outcome import Outcome
from pg_operator.runtime.status import status_patch
from tests.unit.runtime_bed import a_database

Json = dict[str, Any]
NOW = "2026-11-24T12:00:00Z"
LATER = "2026-11-24T12:30:00Z"
READY = Condition("Ready", "True", Reason.RECONCILED, "as declared")


def patch(status: Json, outcome: Outcome, *, now: str = NOW) -> Json | None:
    stored = a_database("orders", status=status)
    return status_patch(stored, outcome, generation=3, now=now)


def merged(target: Any, change: Any) -> Any:
    """JSON merge patch, as RFC 7386 writes it down."""
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def test_first_status_has_conditions_and_the_generation_that_was_reconciled() -> None:
    first = patch({"observedGeneration": -1}, Outcome(conditions=(READY,)))
    assert first is not None
    assert first["observedGeneration"] == 3
    assert first["conditions"][0]["type"] == "Ready"
    assert first["conditions"][0]["observedGeneration"] == 3
    assert first["conditions"][0]["lastTransitionTime"] == NOW


def test_same_outcome_writes_nothing() -> None:
    outcome = Outcome(conditions=(READY,), status={"oid": 5, "service": None})
    stored = merged({"observedGeneration": -1}, patch({}, outcome))
    assert patch(stored, outcome, now=LATER) is None


def test_outcome_that_says_nothing_writes_nothing() -> None:
    assert patch({"observedGeneration": 1}, Outcome()) is None


def test_condition_of_the_same_status_keeps_its_time() -> None:
    stored = merged({}, patch({}, Outcome(conditions=(READY,))))
    reworded = Condition("Ready", "True", Reason.RECONCILED, "still as declared")
    change = patch(stored, Outcome(conditions=(reworded,)), now=LATER)
    assert change is not None
    assert change["conditions"][0]["lastTransitionTime"] == NOW


def test_condition_that_no_longer_holds_leaves() -> None:
    stalled = Condition("Stalled", "True", Reason.CONFLICT, "taken")
    stored = merged({}, patch({}, Outcome(conditions=(READY, stalled))))
    change = patch(stored, Outcome(conditions=(READY,)))
    assert change is not None
    assert [stored["type"] for stored in change["conditions"]] == ["Ready"]


def test_fields_not_mentioned_stay_and_none_removes() -> None:
    change = patch({"oid": 5, "service": "db"}, Outcome(status={"service": None}))
    assert change == {"service": None}


def test_field_with_parts_is_replaced_as_a_whole() -> None:
    stored = {"server": {"version": "17", "inRecovery": True}}
    change = patch(stored, Outcome(status={"server": {"version": "18"}}))
    assert merged(stored, change) == {"server": {"version": "18"}}


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
statuses = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {name: inner for name, inner in value.items() if inner is not None}
    return {name: without_nulls(inner) for name, inner in kept.items()}


@given(statuses, statuses)
def test_second_write_of_an_outcome_is_never_needed(old: Json, new: Json) -> None:
    stored = without_nulls(old)
    outcome = Outcome(status=new)
    after = merged(stored, patch(stored, outcome) or {})
    assert after == without_nulls({**stored, **new})
    assert patch(after, outcome) is None
