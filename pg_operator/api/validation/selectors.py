"""The rules for label selectors: those of the API server for its own kinds. Pure.

Kubernetes documentation: Concepts, "Labels and Selectors".
"""

import re
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import is_subdomain

MOST_REQUIREMENTS: Final = 16
MOST_VALUES: Final = 64
OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?\Z")
_RULE: Final = (
    "1-63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit"
)


def check_selector(selector: Field) -> None:
    """Require a label selector as the API server takes it in its own kinds."""
    if not selector.has_type("object"):
        return
    for key, value in selector["matchLabels"].members(most=MOST_REQUIREMENTS):
        if (problem := _key_problem(key)) is not None:
            value.refuse(problem)
        value.check_text(_value_problem)
    for entry in selector["matchExpressions"].entries(most=MOST_REQUIREMENTS):
        if entry.has_type("object"):
            _check_requirement(entry)


def _check_requirement(entry: Field) -> None:
    entry["key"].require("must name a label").check_text(_key_problem)
    operator = entry["operator"].require("must say how the label is compared")
    operator.check_choice(*OPERATORS)
    values = entry["values"]
    for value in values.entries(most=MOST_VALUES):
        value.check_text(_value_problem)
    has_values = values.is_present and bool(values.value)
    if operator.value in {"In", "NotIn"}:
        if not has_values:
            detail = f"must list values for operator '{operator.value}'"
            values.refuse(Problem("selector-values", detail, "FieldValueRequired"))
    elif operator.value in OPERATORS and has_values:
        detail = f"may not be set for operator '{operator.value}'"
        values.refuse(Problem("selector-values", detail, "FieldValueForbidden"))


def _key_problem(key: str) -> Problem | None:
    prefix, slash, name = key.rpartition("/")
    if _NAME.match(name) and (is_subdomain(prefix) or not slash):
        return None
    detail = (
        f"must be the key of a label: {_RULE}, after an optional DNS prefix and '/'"
    )
    return Problem("label", detail)


def _value_problem(value: str) -> Problem | None:
    if not value or _NAME.match(value):
        return None
    return Problem("label", f"must be empty or the value of a label: {_RULE}")
