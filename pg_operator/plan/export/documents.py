"""Documents with what must be said beside them. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pg_operator.api.errors import FieldError
from pg_operator.api.guard import guard
from pg_operator.api.specs import API_VERSION, Kind
from pg_operator.api.validation import VALIDATORS

_FIELD: Final = re.compile(r"spec\.([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class ExportedObject:
    """An object as it is to be applied, and what it does not say."""

    document: Mapping[str, Any]
    remarks: tuple[str, ...] = ()

    @property
    def spec(self) -> Mapping[str, Any]:
        """The spec of the document."""
        spec: Mapping[str, Any] = self.document["spec"]
        return spec


@dataclass(frozen=True, slots=True)
class Export:
    """The objects that a server becomes, and what of it becomes none."""

    objects: tuple[ExportedObject, ...]
    left_out: tuple[str, ...] = ()


def build(
    kind: Kind,
    name: str,
    spec: Mapping[str, Any],
    *,
    remarks: Sequence[str],
    namespace: str = "",
) -> ExportedObject:
    """Make a valid object of a spec by leaving out what admission would refuse.

    Its name in PostgreSQL and its references must be valid. What is empty is left out
    without a word, unlike the rest.
    """
    place = {"namespace": namespace} if namespace else {}
    head = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, **place},
    }
    said = list(remarks)
    left = _without_nothing(spec)
    while errors := VALIDATORS[kind]({**head, "spec": left}).errors:
        said += [f"not in here: {error.key}: {error.message}" for error in errors]
        guarded = guard(left, errors)
        gone = {_field(error) for error in guarded.stalled}
        left = _without_nothing(
            {key: value for key, value in guarded.spec.items() if key not in gone}
        )
    return ExportedObject({**head, "spec": left}, tuple(said))


def object_names(names: Collection[str]) -> dict[str, str]:
    """Give each name in PostgreSQL one in Kubernetes, as like it as can be.

    Those that are valid already keep theirs; the names must be fit to be created.
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names, key=lambda name: (_plain(name) != name, name)):
        plain = _plain(name) or "unnamed"
        number = 1
        chosen = plain
        while chosen in taken:
            number += 1
            chosen = f"{plain}-{number}"
        taken.add(chosen)
        given[name] = chosen
    return given


def shown(name: str) -> str:
    """Write a name from the server so that it can be told from the words around it."""
    return f"'{name}'"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def _field(error: FieldError) -> str:
    found = _FIELD.match(error.path)
    assert found is not None  # noqa: S101 (validation starts every path so)
    return found[1]


def _without_nothing(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if value not in (None, [], {})}
