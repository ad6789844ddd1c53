"""Conditions as they are stored: what changes, and what must not."""

import pytest

from pg_operator.api.conditions import Condition, Reason, merge_conditions

EARLIER = "2026-11-24T12:00:00Z"
NOW = "2026-11-24T12:05:00Z"

READY = Condition("Ready", "True", Reason.RECONCILED, "All is as declared")
NOT_READY = Condition("Ready", "False", Reason.CONFLICT, "Somebody else's")
STALLED = Condition("Stalled", "True", Reason.CONFLICT, "Choose another name")


def test_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    stored = merge_conditions([], [NOT_READY], generation=1, now=EARLIER)
    changed = Condition("Ready", "False", Reason.IMMUTABLE, "Another reason")
    merged = merge_conditions(stored, [changed], generation=2, now=NOW)
    assert merged == [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 2,
            "lastTransitionTime": EARLIER,
            "reason": "Immutable",
            "message": "Another reason",
        }
    ]


def test_condition_gets_a_new_transition_time_with_a_new_status() -> None:
    stored = merge_conditions([], [NOT_READY], generation=1, now=EARLIER)
    merged = merge_conditions(stored, [READY], generation=1, now=NOW)
    assert [condition["lastTransitionTime"] for condition in merged] == [NOW]


def test_conditions_that_are_no_longer_stated_are_dropped() -> None:
    stored = merge_conditions([], [NOT_READY, STALLED], generation=1, now=EARLIER)
    merged = merge_conditions(stored, [READY], generation=1, now=NOW)
    assert [condition["type"] for condition in merged] == ["Ready"]


@pytest.mark.parametrize("order", [(NOT_READY, STALLED), (STALLED, NOT_READY)])
def test_conditions_equal_the_stored_ones_when_nothing_changed(
    order: tuple[Condition, ...],
) -> None:
    stored = merge_conditions([], [STALLED, NOT_READY], generation=3, now=EARLIER)
    assert merge_conditions(stored, order, generation=3, now=NOW) == stored


def test_conditions_differ_from_the_stored_ones_in_a_new_generation() -> None:
    stored = merge_conditions([], [READY], generation=3, now=EARLIER)
    assert merge_conditions(stored, [READY], generation=4, now=NOW) != stored


def test_condition_written_by_a_stranger_without_its_fields_is_replaced() -> None:
    merged = merge_conditions([{}, {"type": "Ready"}], [READY], generation=1, now=NOW)
    assert [condition["lastTransitionTime"] for condition in merged] == [NOW]


def test_message_is_cut_to_what_the_api_server_stores() -> None:
    endless = Condition("Ready", "False", Reason.SERVER_ERROR, "x" * 40_000)
    merged = merge_conditions([], [endless], generation=1, now=NOW)
    assert len(merged[0]["message"]) == 32768


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_is_the_camel_case_of_its_name(reason: Reason) -> None:
    assert reason.value.upper() == reason.name.replace("_", "")
    assert reason.value[0].isupper()
