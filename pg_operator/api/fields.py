"""Walking a raw document: a place in it, and the report of what is wrong there. Pure.

A document may hold any JSON anywhere. Asking a `Field` for a type reports a wrong one,
so that rules are only ever shown values of the type they are for.
"""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from pg_operator.api.errors import (
    FieldError,
    Problem,
    compose_message,
    echo,
    json_type,
)
from pg_operator.api.secret import REDACTED

JsonType = Literal["object", "array", "string", "integer", "boolean"]
Rule = Callable[[str], Problem | None]
LARGEST_INTEGER: Final = 2**31 - 1

_ARTICLES: Final[Mapping[JsonType, str]] = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}


class Absent(enum.Enum):
    """The type of `ABSENT`: what a field holds that is not in the document."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Finding:
    """An error and the scalar that it is about, to tell whether it is an old one."""

    error: FieldError
    scalar: str | float | None = field(repr=False)

    @property
    def identity(self) -> tuple[str, str, str | float | None]:
        """What two findings have in common that are the same fault."""
        return (self.error.rule, self.error.key, self.scalar)


@dataclass(slots=True)
class Report:
    """What was found in one document, in the order of the document."""

    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a raw document.

    A hidden field holds what may have been mistaken for a secret: it is never echoed.
    """

    value: Any
    path: str
    key: str
    report: Report
    hidden: bool = False

    @property
    def is_present(self) -> bool:
        """Tell whether the document has this field at all."""
        return self.value is not ABSENT

    def __getitem__(self, name: str) -> "Field":
        value = self.value.get(name, ABSENT) if isinstance(self.value, dict) else ABSENT
        return self._below(value, step=f".{name}" if self.path else name)

    def hide(self) -> "Field":
        """Return the same place, never to be echoed, nor anything below it."""
        return replace(self, hidden=True)

    def refuse(self, problem: Problem) -> None:
        """Report a broken rule at this place."""
        shown = self.is_present and not self.hidden
        echoed = echo(self.value) if shown else REDACTED
        message = compose_message(problem, echoed)
        error = FieldError(problem.rule, self.path, self.key, problem.reason, message)
        is_scalar = isinstance(self.value, str | int | float)
        self.report.findings.append(Finding(error, self.value if is_scalar else None))

    def warn(self, text: str) -> None:
        """Report something that is allowed but probably not meant."""
        self.report.warnings.append(f"{self.path}: {text}")

    def require(self, detail: str) -> "Field":
        """Report that the field is missing, if it is."""
        if not self.is_present:
            self.refuse(Problem("required", detail, "FieldValueRequired"))
        return self

    def has_type(self, wanted: JsonType, *, hint: str = "") -> bool:
        """Tell whether the value is there and of a type; report a wrong type.

        The hint goes on where "must be an object" ends.
        """
        if not self.is_present:
            return False
        actual = json_type(self.value)
        if actual == wanted:
            return True
        detail = f"must be {_ARTICLES[wanted]}{hint}"
        if wanted == "string" and actual in {"integer", "number", "boolean"}:
            detail += "; put it in quotes"
        elif isinstance(self.value, str) and _is_quoted(self.value, wanted):
            detail += "; write it without quotes"
        # Only the type is echoed: the value may be a password in the wrong place.
        message = compose_message(Problem("type", detail), echo(actual))
        error = FieldError("type", self.path, self.key, "FieldValueInvalid", message)
        self.report.findings.append(Finding(error, actual))
        return False

    def check_text(self, rule: Rule) -> None:
        """Apply a rule to a string."""
        if self.has_type("string") and (problem := rule(self.value)) is not None:
            self.refuse(problem)

    def check_choice(self, *choices: str) -> None:
        """Require one of some strings."""
        if self.has_type("string") and self.value not in choices:
            supported = ", ".join(f'"{choice}"' for choice in choices)
            detail = f"supported values: {supported}"
            self.refuse(Problem("choice", detail, "FieldValueNotSupported"))

    def check_boolean(self) -> None:
        """Require true or false."""
        self.has_type("boolean")

    def check_integer(self, lowest: int, highest: int, *, detail: str) -> None:
        """Require a whole number in a range, both ends included."""
        if self.has_type("integer") and not lowest <= self.value <= highest:
            self.refuse(Problem("range", detail))

    def entries(self, *, most: int, list_key: str | None = None) -> Iterator["Field"]:
        """Yield the entries of a list, in order.

        With a `list_key` the entries are objects and that field of each must be there
        and unique; without one they are scalars. Entries beyond `most` are reported by
        their number only.
        """
        if not self.has_type("array"):
            return
        if len(self.value) > most:
            detail = f"must have at most {most} items, not {len(self.value)}"
            self.refuse(Problem("too-many", detail))
        seen: set[str] = set()
        for index, value in enumerate(self.value[:most]):
            name = value.get(list_key) if isinstance(value, dict) else value
            label = name if isinstance(name, str) else index
            entry = self._below(value, step=f"[{index}]", key_step=f"[{label}]")
            if list_key is not None:
                if not entry.has_type("object"):
                    continue
                if isinstance(name, str) and name in seen:
                    entry[list_key].refuse(_duplicate(list_key))
            if isinstance(name, str):
                seen.add(name)
            yield entry

    def members(self, *, most: int) -> Iterator[tuple[str, "Field"]]:
        """Yield the names and fields of an object whose names the user chooses."""
        if not self.has_type("object"):
            return
        if len(self.value) > most:
            detail = f"must have at most {most} entries, not {len(self.value)}"
            self.refuse(Problem("too-many", detail))
        for name, value in list(self.value.items())[:most]:
            yield name, self._below(value, step=f"[{name}]")

    def texts(self) -> frozenset[str]:
        """Return the strings of a list, leaving out whatever else is there."""
        items = self.value if isinstance(self.value, list) else []
        return frozenset(item for item in items if isinstance(item, str))

    def _below(
        self, value: object, *, step: str, key_step: str | None = None
    ) -> "Field":
        return Field(
            value,
            path=self.path + step,
            key=self.key + (step if key_step is None else key_step),
            report=self.report,
            hidden=self.hidden,
        )


def _duplicate(list_key: str) -> Problem:
    detail = f"must be unique by `{list_key}`; merge the two entries"
    return Problem("duplicate", detail, "FieldValueDuplicate")


def _is_quoted(text: str, wanted: JsonType) -> bool:
    """Tell whether a text is what was wanted, but for its quotes in YAML."""
    if wanted == "boolean":
        return text in {"true", "false"}
    return wanted == "integer" and text.removeprefix("-").isdecimal()
