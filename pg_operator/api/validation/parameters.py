"""The rules for settings of PostgreSQL, wherever they are declared. Pure."""

import re
from dataclasses import replace
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field

MOST_PARAMETERS: Final = 64
LONGEST_PARAMETER: Final = 63
LONGEST_VALUE: Final = 1024

_NAME = re.compile(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*\Z")


def check_parameters(parameters: Field) -> None:
    """Check settings and their values."""
    for name, value in parameters.members(most=MOST_PARAMETERS):
        problem = parameter_problem(name)
        if problem is not None and not name.isprintable():
            parameters.refuse(problem)  # a path that names it would be obeyed
        elif problem is not None:
            value.refuse(replace(problem, reason="FieldValueForbidden"))
        else:
            value.check_text(_value_problem)


def parameter_problem(name: str) -> Problem | None:
    """Return why a setting cannot have this name, or not be written so."""
    if len(name) <= LONGEST_PARAMETER and _NAME.match(name):
        return None
    detail = (
        f"must be the name of a setting: 1-{LONGEST_PARAMETER} characters of 'a-z', "
        "'0-9', '_', '$' and '.'"
    )
    if len(name) <= LONGEST_PARAMETER and _NAME.match(name.lower()):
        detail += f"; try '{name.lower()}'"
    return Problem("parameter-name", detail)


def _value_problem(value: str) -> Problem | None:
    if len(value) > LONGEST_VALUE:
        detail = f"must be at most {LONGEST_VALUE} characters long"
        return Problem("parameter-value", detail)
    if any(char in value for char in "\0\r\n"):
        return Problem("parameter-value", "must be one line of text")
    return None
