"""What a reconciler may act on in a document that has errors. Pure.

The webhook refuses such documents, but it may have been off, or a rule may be newer
than the document. An error in a list entry holds that entry; any other stalls all.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pg_operator.api.errors import FieldError
from pg_operator.api.privileges import ObjectKind

# The lists whose entries can be left out one by one, and the key of each.
LIST_KEYS: Final[Mapping[str, str]] = {
    "permissions": "database",
    "schemas": "name",
    "extensions": "name",
    "tables": "name",
    "memberOf": "role",
    "columns": "name",
    "sequences": "name",
    "functions": "name",
    "types": "name",
}
# The kind of object that an entry of these lists is about.
OBJECT_KINDS: Final[Mapping[str, ObjectKind]] = {
    "tables": "table",
    "columns": "column",
    "sequences": "sequence",
    "functions": "function",
    "types": "type",
}

_NAMED: Final = frozenset({"tables", "sequences", "functions", "types"})
# The objects whose members can be left out one by one.
_MEMBER = re.compile(r"spec\.(parameters)\[(.*)\]\Z", re.DOTALL)
_STEP = re.compile(r"([A-Za-z]+)(?:\[([0-9]+)\])?")


@dataclass(frozen=True, slots=True)
class Held:
    """A part of a spec that is left out, and the error for which it is.

    `path_keys` names it by list keys, as `("permissions", "orders", "schemas", "app")`;
    a last "privileges" means that only the entry's own privileges are left out, with
    those that may be passed on. The
    names say the same: of an entry without a usable name they are None. `name` is that
    of an object in a schema, for a column that of its table.
    """

    path_keys: tuple[str, ...]
    error: FieldError
    database: str | None = None
    schema: str | None = None
    kind: ObjectKind | None = None
    name: str | None = None
    column: str | None = None
    member_of: str | None = None


@dataclass(frozen=True, slots=True)
class Guarded:
    """A spec without its faulty entries, what those were, and what stalls the object.

    Unless `stalled`, the spec can be parsed. A spec with anything `held` is not fully
    applied, and what is held is neither granted nor revoked.
    """

    spec: Mapping[str, Any] = field(repr=False)
    held: tuple[Held, ...] = ()
    stalled: tuple[FieldError, ...] = ()


def guard(spec: Mapping[str, Any], errors: Sequence[FieldError]) -> Guarded:
    """Split the errors of a raw spec into those that hold an entry and the others."""
    held: list[Held] = []
    stalled: list[FieldError] = []
    cuts: set[tuple[str | int, ...]] = set()
    for error in errors:
        cut = _cut(error.path)
        if cut is None:
            stalled.append(error)
        else:
            held.append(_hold(spec, cut, error))
            cuts.add(cut)
    left = copy.deepcopy(dict(spec))
    # Backwards, so that the indexes of what is still to be cut stay true.
    for cut in sorted(cuts, key=_order, reverse=True):
        _remove(left, cut)
    return Guarded(left, tuple(held), tuple(stalled))


def _cut(path: str) -> tuple[str | int, ...] | None:
    """Return the steps to the smallest part around a path that can be left out."""
    if (member := _MEMBER.match(path)) is not None:
        return (member[1], member[2])
    steps: list[str | int] = []
    cut: tuple[str | int, ...] | None = None
    for name, index in _STEP.findall(path)[1:]:  # all paths start at "spec"
        steps.append(name)
        if name in {"privileges", "grantable"} and cut is not None:
            return (*cut, "privileges")
        if name not in LIST_KEYS or not index:
            break
        steps.append(int(index))
        cut = tuple(steps)
    return cut


def _hold(
    spec: Mapping[str, Any], cut: tuple[str | int, ...], error: FieldError
) -> Held:
    keys: list[str] = []
    names: dict[str, str | None] = {}
    kind: ObjectKind | None = None
    place: Any = spec
    for step, following in zip(cut, (*cut[1:], None), strict=True):
        place = place.get(step) if isinstance(step, str) else place[step]
        if isinstance(step, str):
            keys.append(step)
            kind = OBJECT_KINDS.get(step, kind)
            if isinstance(following, int):
                entry = place[following]
                name = entry.get(LIST_KEYS[step]) if isinstance(entry, dict) else None
                names[step] = name if isinstance(name, str) else None
                keys.append(names[step] or str(following))
    return Held(
        tuple(keys),
        error,
        database=names.get("permissions"),
        schema=names.get("schemas"),
        kind=kind,
        name=next((names[step] for step in names if step in _NAMED), None),
        column=names.get("columns"),
        member_of=names.get("memberOf"),
    )


def _remove(spec: dict[str, Any], cut: tuple[str | int, ...]) -> None:
    place: Any = spec
    for step in cut[:-1]:
        place = place[step]
    if cut[-1] == "privileges":
        # What may be passed on is a part of what is granted.
        place.pop("privileges", None)
        place.pop("grantable", None)
    else:
        del place[cut[-1]]


def _order(cut: tuple[str | int, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((step, "") if isinstance(step, int) else (-1, step) for step in cut)
