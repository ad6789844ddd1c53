"""Settings of databases: which may be set by a tenant, and how values compare. Pure."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.plan.state import EMPTY, Pending

USER_CONTEXT: Final = "user"
# guc_tables.c, GUC_LIST_QUOTE: their values are lists of identifiers, and SET with the
# whole list in one string would make one identifier of it.
LISTS: Final = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
    }
)
# Possessive throughout: tenants write these values, and one that matches nowhere must
# not be tried in every way that its spaces can be shared out.
_ITEM = re.compile(r'\s*+(?:"((?:[^"]|"")*+)"\s*+|([^,"]*+))(?:,|\Z)')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The settings of a spec that may be set, and a word on each other one."""

    usable: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    pending: tuple[Pending, ...] = ()


def judge_parameters(
    declared: Mapping[str, str],
    *,
    contexts: Mapping[str, str],
    allowed: Collection[str],
    path: str = "spec.parameters",
) -> Parameters:
    """Keep the settings that any user may change, or that are allowed by name.

    Args:
        declared: Values by names in lower case.
        contexts: `context` of each in pg_settings; those it does not know are missing.
        allowed: The DatabaseCluster's `allowedParameters`.
        path: Where they are declared.

    """
    usable, pending = {}, []
    for name, value in declared.items():
        if name in allowed or contexts.get(name) == USER_CONTEXT:
            usable[name] = normalize(name, value)
            continue
        what = "is not one" if name in contexts else "is unknown or not one"
        message = (
            f"parameter '{name}' {what} that every user may set; remove it, or ask for "
            "it to be added to spec.allowedParameters of the DatabaseCluster"
        )
        pending.append(Pending(f"{path}[{name}]", Reason.NOT_ALLOWED, message))
    return Parameters(usable, tuple(pending))


def normalize(name: str, value: str) -> str:
    """Return a value as PostgreSQL stores it, so that equal ones compare equal."""
    if name not in LISTS:
        return value
    return ", ".join(
        item if _PLAIN.match(item) else '"{}"'.format(item.replace('"', '""'))
        for item in items(value)
    )


def items(value: str) -> tuple[str, ...]:
    """Split the value of one of `LISTS` as SplitIdentifierString does."""
    return tuple(_items(value))


def _items(value: str) -> Iterator[str]:
    position = 0
    while True:
        found = _ITEM.match(value, position)
        if found is None:  # a quote in a place where PostgreSQL would refuse it
            yield value[position:].strip()
            return
        quoted, plain = found[1], found[2]
        yield plain.strip().lower() if quoted is None else quoted.replace('""', '"')
        position = found.end()
        if not found[0].endswith(","):
            return
