"""The DatabaseCluster that lets the other objects be taken over. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pg_operator.api.validation.cluster import MOST_ALLOWED
from pg_operator.api.validation.memberships import MOST_MEMBERSHIPS
from pg_operator.plan.export.documents import ExportedObject, build, shown
from pg_operator.plan.export.inventory import Choices, Inventory
from pg_operator.plan.parameters import USER_CONTEXT

_LIMITS: Final = {"allowedMemberships": MOST_MEMBERSHIPS}


@dataclass(frozen=True, slots=True)
class Needs:
    """What the objects need that not every tenant may have."""

    memberships: frozenset[str]
    extensions: frozenset[str]


def export_cluster(
    inventory: Inventory,
    choices: Choices,
    *,
    databases: Sequence[ExportedObject],
    roles: Sequence[ExportedObject],
    needs: Needs,
) -> ExportedObject:
    """Return the DatabaseCluster: its lists have what the other objects need."""
    specs = [one.spec for one in (*databases, *roles)]
    allowed = {
        "allowedMemberships": needs.memberships,
        "allowedRoleAttributes": {
            attribute for spec in specs for attribute in spec.get("attributes", ())
        },
        "allowedParameters": {
            name
            for spec in specs
            for name in _parameters(spec)
            if inventory.contexts.get(name) != USER_CONTEXT
        },
        "allowedExtensions": needs.extensions,
        "allowedTablespaces": {
            spec["tablespace"] for spec in specs if "tablespace" in spec
        },
    }
    lists = {
        name: sorted(entries)[: _LIMITS.get(name, MOST_ALLOWED)]
        for name, entries in allowed.items()
    }
    spec: dict[str, Any] = {
        "connection": {"name": choices.secret},
        "allowedNamespaces": {"from": "Names", "names": [choices.namespace]},
        **lists,
        "adoption": {
            "policy": "Listed",
            "databases": _adoptable((one.spec["name"] for one in databases), choices),
            "roles": _adoptable((one.spec["roleName"] for one in roles), choices),
        },
        "expectedSystemIdentifier": inventory.server.system_identifier,
    }
    remarks = [*_opened(lists), *_cut(allowed, lists), *_shared(inventory)]
    return build("DatabaseCluster", choices.cluster, spec, remarks=remarks)


def _parameters(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from spec.get("parameters", ())
    for permission in spec.get("permissions", ()):
        yield from permission.get("parameters", ())


def _adoptable(names: Iterator[str], choices: Choices) -> list[dict[str, str]]:
    return [{"name": name, "namespace": choices.namespace} for name in names]


def _opened(lists: Mapping[str, Collection[str]]) -> Iterator[str]:
    opened = [name for name, entries in lists.items() if entries]
    if opened:
        yield (
            f"{', '.join(opened)}: what objects below need is open to all objects of "
            "the namespaces that may use this server; take out what it should not be"
        )


def _cut(
    allowed: Mapping[str, Collection[str]], lists: Mapping[str, Collection[str]]
) -> Iterator[str]:
    for name, entries in allowed.items():
        for entry in sorted({*entries} - {*lists[name]}):
            yield f"not in here: {name} '{entry}': the list would be too long"


def _shared(inventory: Inventory) -> Iterator[str]:
    if inventory.shared_settings:
        names = ", ".join(map(shown, inventory.shared_settings))
        yield (
            f"not in here, and left as it is: what ALTER ROLE ALL SET says of {names}; "
            "an object that sets one of them goes before it"
        )
