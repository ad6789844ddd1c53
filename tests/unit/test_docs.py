"""The tables of the documentation name what the API has."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pg_operator.api.conditions import Reason

ROOT = Path(__file__).parents[2]
# Reasons of what is pending in a Database, which its condition tells in words.
IN_WORDS = {Reason.EXTENSION_NOT_FOUND}


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def fields(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from fields(part)
        yield from fields(part.get("items", {}))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_field_is_documented(path: Path) -> None:
    crd = yaml.safe_load(path.read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]

    known = set(re.findall(r"\w+", text("fields.md") + text("ownership.md")))

    assert set(fields(spec)) - known == set()


def test_every_reason_is_documented() -> None:
    known = set(re.findall(r"`(\w+)`", text("conditions.md")))

    assert set(Reason) - IN_WORDS - known == set()
