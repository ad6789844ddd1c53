"""The CRDs as the tests of them read them."""

import functools
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pg_operator.api.specs import GROUP, PLURALS, SPECS, Kind

CHECKOUT = Path(__file__).parents[2]
Schema = dict[str, Any]
KINDS = pytest.mark.parametrize("kind", list(SPECS))


@functools.cache
def crd(kind: Kind) -> Schema:
    path = CHECKOUT / "crds" / f"{GROUP}_{PLURALS[kind]}.yaml"
    document: Schema = yaml.safe_load(path.read_text())
    return document


def version(kind: Kind) -> Schema:
    (only,) = crd(kind)["spec"]["versions"]
    return typing.cast("Schema", only)


def schema_at(kind: Kind, *path: str) -> Schema:
    """Return the schema of a field; a list is stepped into by the name of the field."""
    schema: Schema = version(kind)["schema"]["openAPIV3Schema"]
    for name in path:
        schema = schema.get("items", schema)["properties"][name]
    return schema


def fields(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every field below a schema with its path."""
    inner = schema.get("items", schema)
    for name, field in inner.get("properties", {}).items():
        yield name, field
        for path, deeper in fields(field):
            yield f"{name}.{path}", deeper


def texts(schema: Schema) -> str:
    """Return the CEL rules of a field, or of a list's entries, and their messages."""
    return " ".join(
        f"{rule['rule']} {rule['message']}"
        for rule in schema.get("items", schema).get("x-kubernetes-validations", [])
    )
