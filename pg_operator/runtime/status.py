"""What to write of a reconcile's outcome: the difference, or nothing. Pure."""

from collections.abc import Mapping
from typing import Any

from pg_operator.api.conditions import merge_conditions
from pg_operator.reconcilers.outcome import Object, Outcome


def status_patch(
    stored: Object, outcome: Outcome, *, generation: int, now: str
) -> dict[str, Any] | None:
    """Return the merge patch of `stored`'s status, or None when it says so already.

    `generation` is the one that was reconciled, which need not be the stored one any
    more; `now` is RFC 3339 text. An outcome without conditions says nothing new.
    """
    old: Mapping[str, Any] = stored.get("status", {})
    new = {**old, **outcome.status}
    if outcome.conditions:
        new["observedGeneration"] = generation
        new["conditions"] = merge_conditions(
            old.get("conditions", []),
            outcome.conditions,
            generation=generation,
            now=now,
        )
    return _difference(old, new) or None


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7386) from `old` to `new`; None removes."""
    patch: dict[str, Any] = {name: None for name in old if new.get(name) is None}
    for name, value in new.items():
        stored = old.get(name)
        if value is None or value == stored:
            continue
        if isinstance(value, Mapping) and isinstance(stored, Mapping):
            if inner := _difference(stored, value):
                patch[name] = inner
        else:
            patch[name] = value
    return patch
