"""Documents for laws: valid ones in which a few things were changed at random."""

import copy
from typing import Any

from hypothesis import strategies as st

Step = str | int
Document = dict[str, Any]

CLUSTER: Document = {
    "spec": {
        "connection": {"name": "postgres-admin", "namespace": "default", "key": "dsn"},
        "allowedNamespaces": {"from": "Names", "names": ["shop", "billing"]},
        "namePrefix": "{namespace}_",
        "allowedMemberships": ["pg_monitor"],
        "allowedOwners": ["platform_owner"],
        "allowedRoleAttributes": ["CREATEDB", "BYPASSRLS"],
        "allowedParameters": ["log_statement"],
        "allowedExtensions": ["postgis"],
        "allowedTablespaces": ["fast"],
        "adoption": {
            "policy": "Listed",
            "databases": [{"name": "orders", "namespace": "shop"}],
            "roles": [{"name": "app", "namespace": "shop"}],
        },
        "ownerId": "production",
        "previousOwnerIds": ["a-uid"],
        "expectedSystemIdentifier": "7712113417124377960",
        "maxConnections": 4,
        "resyncInterval": "10m",
    }
}
DATABASE: Document = {
    "spec": {
        "name": "orders",
        "databaseClusterRef": {"name": "main"},
        "owner": "orders_owner",
        "schemas": [
            {"name": "app", "owner": "orders_app", "creators": ["orders_migrator"]},
            {"name": "audit"},
        ],
        "encoding": "UTF8",
        "localeProvider": "libc",
        "locale": "C",
        "template": "template0",
        "tablespace": "fast",
        "timezone": "UTC",
        "parameters": {"work_mem": "8MB", "search_path": "app, public"},
        "connectionLimit": 50,
        "extensions": [{"name": "pg_trgm", "schema": "public", "version": "1.6"}],
        "databaseServiceName": "orders-db",
        "publicPrivileges": "Revoke",
        "allowedNamespaces": {"from": "Same"},
        "adopt": True,
        "deletionPolicy": "Retain",
    }
}
ROLE: Document = {
    "spec": {
        "roleName": "orders_app",
        "databaseClusterRef": {"name": "main"},
        "password": {"name": "orders-app-password", "key": "password"},
        "connectionSecret": {"name": "orders-app", "database": "orders"},
        "login": True,
        "connectionLimit": 5,
        "inherit": False,
        "attributes": ["CREATEDB"],
        "validUntil": "2027-01-31T22:00:00Z",
        "parameters": {"work_mem": "64MB"},
        "memberOf": [{"role": "readers", "inherit": True}, {"role": "pg_monitor"}],
        "permissions": [
            {
                "database": "orders",
                "privileges": ["CONNECT", "TEMPORARY"],
                "grantable": ["CONNECT"],
                "schemas": [
                    {
                        "name": "app",
                        "privileges": ["USAGE"],
                        "tables": [
                            {"name": "*", "privileges": ["SELECT"]},
                            {
                                "name": "Invoices",
                                "privileges": ["INSERT", "UPDATE"],
                                "columns": [{"name": "id", "privileges": ["SELECT"]}],
                            },
                        ],
                        "sequences": [{"name": "*", "privileges": ["USAGE"]}],
                        "functions": [{"name": "f(int)", "privileges": ["EXECUTE"]}],
                        "types": [{"name": "money", "privileges": ["ALL"]}],
                        "exceptTables": ["audit_log"],
                    },
                    {"name": "audit", "privileges": ["ALL"]},
                ],
            },
            {"database": "shop", "privileges": ["CONNECT"]},
        ],
        "grantsPolicy": "Exact",
        "adopt": False,
        "deletionPolicy": "Disable",
        "reassignOwnedTo": "orders_owner",
    }
}

# JSON that Go has read holds no surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["orders", "*", "Orders", "pg_x", "postgres", "public"])
WORDS = st.sampled_from(["ALL", "USAGE", "SELECT", "SELCT", "Names", "Delete", "5s"])


@st.composite
def changed(draw: st.DrawFn, document: Document) -> Document:
    """Return a copy with up to three places replaced, left out or doubled."""
    copied = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        paths = _paths(copied)
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        place: Any = copied
        for step in parents:
            place = place[step]
        match draw(st.sampled_from(["suspect", "any", "out", "double"])):
            case "suspect":
                place[last] = draw(NAMES | WORDS)
            case "any":
                place[last] = draw(JSON)
            case "double" if isinstance(last, int):
                place.append(copy.deepcopy(place[last]))
            case _:
                del place[last]
    return copied


def _paths(value: object) -> list[tuple[Step, ...]]:
    """List every place below a value."""
    items: list[tuple[Step, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [(step, *path) for step, inner in items for path in ((), *_paths(inner))]
