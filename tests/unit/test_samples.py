"""The samples: valid ones are, invalid ones are refused as written beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pg_operator.api.specs import API_VERSION, WILDCARD
from pg_operator.api.validation import VALIDATORS, FieldError
from tests.errors import UNKNOWN_FIELD, errors_of

SAMPLES = Path(__file__).parents[2] / "config" / "samples"
VALID = sorted(SAMPLES.glob("*.yaml"))
INVALID = sorted((SAMPLES / "invalid").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def in_terminal(errors: Sequence[FieldError]) -> str:
    """Write errors as kubectl does after "is invalid:", several as a list."""
    if len(errors) == 1:
        return str(errors[0])
    return "\n".join(f"* {error}" for error in errors)


def of_kind(kind: str) -> list[dict[str, Any]]:
    everything = [document for path in VALID for document in documents(path)]
    return [document for document in everything if document["kind"] == kind]


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_sample_is_valid(path: Path) -> None:
    for document in documents(path):
        if document["apiVersion"] == API_VERSION:
            assert VALIDATORS[document["kind"]](document).errors == ()


@pytest.mark.parametrize("path", VALID + INVALID, ids=lambda path: path.stem)
def test_sample_says_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_sample_is_refused_as_written_beside_it(path: Path) -> None:
    errors = errors_of(path)
    expected = path.with_suffix(".txt").read_text().removesuffix("\n")
    if path.stem == UNKNOWN_FIELD:
        assert errors == ()
        assert expected == 'strict decoding error: unknown field "spec.permisions"'
    else:
        assert in_terminal(errors) == expected


def test_every_message_has_its_sample() -> None:
    messages = {path.stem for path in (SAMPLES / "invalid").glob("*.txt")}
    assert messages == {path.stem for path in INVALID}


def test_samples_can_live_together() -> None:
    """No two of them name the same thing, in Kubernetes or in PostgreSQL."""
    for kind, name in (("Database", "name"), ("DatabaseRole", "roleName")):
        objects = of_kind(kind)
        in_kubernetes = [document["metadata"]["name"] for document in objects]
        in_postgresql = [document["spec"][name] for document in objects]
        assert len(set(in_kubernetes)) == len(in_kubernetes)
        assert len(set(in_postgresql)) == len(in_postgresql)
    (cluster,) = of_kind("DatabaseCluster")
    for document in of_kind("Database") + of_kind("DatabaseRole"):
        reference = document["spec"]["databaseClusterRef"]
        assert reference == {"name": cluster["metadata"]["name"]}
        assert document["metadata"]["namespace"] == "default"


def test_samples_refer_only_to_what_they_make() -> None:
    schemas = {
        document["spec"]["name"]: {
            document["spec"].get("schema"),
            *(schema["name"] for schema in document["spec"].get("schemas", [])),
        }
        for document in of_kind("Database")
    }
    roles = {document["spec"]["roleName"] for document in of_kind("DatabaseRole")}
    secrets = {document["metadata"]["name"] for document in of_kind("Secret")}
    for document in of_kind("DatabaseRole"):
        if "password" in document["spec"]:
            assert document["spec"]["password"]["name"] in secrets
        for group in document["spec"].get("memberOf", []):
            assert group["role"] in roles
        for permission in document["spec"].get("permissions", []):
            for schema in permission.get("schemas", []):
                assert schema["name"] in schemas[permission["database"]]
                for kind in ("tables", "sequences", "functions", "types"):
                    names = [entry["name"] for entry in schema.get(kind, [])]
                    assert names in ([], [WILDCARD])


def test_samples_ship_no_dsn() -> None:
    for path in VALID:
        for document in documents(path):
            assert "://" not in yaml.safe_dump(document)
