"""What is wrong with a field, in the form of the API server's own field errors. Pure.

A `Problem` is a rule that a value breaks; a `FieldError` is a problem at a place.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Cause = Literal[
    "FieldValueInvalid",
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueDuplicate",
    "FieldValueForbidden",
]

# What a terminal shows without scrolling, and far below the limits of the API server.
LONGEST_ECHO: Final = 60
MOST_ERRORS_SHOWN: Final = 40
QUOTED: Final = '"\\'  # what JSON escapes inside a string

_JSON_TYPES: Final = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that a value breaks, and what to do about it."""

    rule: str
    detail: str
    reason: Cause = "FieldValueInvalid"


@dataclass(frozen=True, slots=True)
class FieldError:
    """A broken rule at a place of a document.

    `rule` is a stable id; `path` counts list entries as the user does, `key` names them
    by their list keys, so that it survives a reordering; `reason` is the type of the
    API server's cause; `message` comes without the path.
    """

    rule: str
    path: str
    key: str
    reason: Cause
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that validation has to say about one document."""

    errors: tuple[FieldError, ...] = ()
    warnings: tuple[str, ...] = ()


def compose_message(problem: Problem, echoed: str) -> str:
    """Write a problem as apimachinery's field.Error does, around an echoed value."""
    match problem.reason:
        case "FieldValueInvalid":
            return f"Invalid value: {echoed}: {problem.detail}"
        case "FieldValueNotSupported":
            return f"Unsupported value: {echoed}: {problem.detail}"
        case "FieldValueDuplicate":
            return f"Duplicate value: {echoed}: {problem.detail}"
        case "FieldValueRequired":
            return f"Required value: {problem.detail}"
        case "FieldValueForbidden":
            return f"Forbidden: {problem.detail}"


def refusal(errors: Sequence[FieldError]) -> str:
    """Join errors into one text, a single one bare and several in brackets.

    Beyond `MOST_ERRORS_SHOWN` only their number is told.
    """
    texts = [str(error) for error in errors[:MOST_ERRORS_SHOWN]]
    if (hidden := len(errors) - len(texts)) > 0:
        texts.append(f"and {hidden} more")
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def echo(value: object) -> str:
    """Show a value as JSON, short and with nothing a terminal would obey."""
    if isinstance(value, dict):
        return '"object"'
    if isinstance(value, list):
        return _shorten(json.dumps(value[:LONGEST_ECHO], ensure_ascii=False))
    if isinstance(value, str):
        return f'"{_shorten(value, escaped=QUOTED)}"'
    return json.dumps(value)


def json_type(value: object) -> str:
    """Name the JSON type of a raw value."""
    return _JSON_TYPES.get(type(value), "object")


def _shorten(text: str, *, escaped: str = "") -> str:
    shown = text if len(text) <= LONGEST_ECHO else text[: LONGEST_ECHO - 1] + "…"
    return "".join(
        char if char.isprintable() and char not in escaped else json.dumps(char)[1:-1]
        for char in shown
    )
