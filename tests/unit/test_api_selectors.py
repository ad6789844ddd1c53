"""Whom a label selector selects, as Kubernetes says."""

from typing import Any

import pytest

from pg_operator.api.selectors import LabelSelector
from pg_operator.api.specs import AllowedNamespaces

LABELS = {"team": "shop", "stage": ""}


def expression(
    operator: str, *values: str, key: str = "team"
) -> dict[str, list[dict[str, Any]]]:
    return {
        "matchExpressions": [
            {"key": key, "operator": operator, "values": list(values)},
        ]
    }


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": {"team": "shop"}},
        {"matchLabels": {"team": "shop", "stage": ""}},
        expression("In", "bank", "shop"),
        expression("NotIn", "bank"),
        expression("NotIn", "shop", key="absent"),
        expression("Exists", key="stage"),
        expression("DoesNotExist", key="absent"),
    ],
)
def test_labels_that_meet_every_requirement_are_selected(
    selector: dict[str, Any],
) -> None:
    assert LabelSelector.parse(selector).matches(LABELS)


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"team": "shop", "stage": "test"}},
        {"matchLabels": {"absent": ""}},
        expression("In", "bank"),
        expression("In", "", key="absent"),
        expression("NotIn", "shop"),
        expression("Exists", key="absent"),
        expression("DoesNotExist", key="stage"),
        {"matchLabels": {"team": "shop"}, **expression("NotIn", "shop")},
    ],
)
def test_labels_that_miss_a_requirement_are_not_selected(
    selector: dict[str, Any],
) -> None:
    assert not LabelSelector.parse(selector).matches(LABELS)


def test_namespace_of_unknown_labels_is_not_selected() -> None:
    allowed = AllowedNamespaces.parse({"from": "Selector", "selector": {}})
    assert allowed.allows("shop", labels={})
    assert not allowed.allows("shop", labels=None)


def test_selector_that_is_missing_selects_nothing() -> None:
    assert not AllowedNamespaces.parse({"from": "Selector"}).allows("shop", labels={})
