"""The rules in CEL say the same as validation, and stop no unrelated change."""

import re
from collections.abc import Iterator, Mapping

import pytest

from pg_operator.api import names, values
from pg_operator.api.errors import Problem
from pg_operator.api.specs import Kind
from pg_operator.api.validation import connection_secret
from pg_operator.api.validation.permissions import COLUMNS_OF_ALL
from tests.unit.crds import KINDS, Schema, schema_at, texts


def test_crd_says_as_validation_how_a_role_is_published() -> None:
    said = texts(schema_at("DatabaseRole", "spec"))
    for rule in (
        connection_secret.GENERATED_OR_GIVEN,
        connection_secret.KEPT_SOMEWHERE,
        connection_secret.SOMETHING_TO_KEEP,
        connection_secret.READ_OR_WRITTEN,
        connection_secret.DATABASE_IS_CLEAR,
    ):
        assert rule in said


@pytest.mark.parametrize(
    ("kind", "path", "created"),
    [
        ("Database", ("spec", "name"), "database"),
        ("Database", ("spec", "schema"), "schema"),
        ("Database", ("spec", "schemas", "name"), "schema"),
        ("DatabaseRole", ("spec", "roleName"), "role"),
        ("DatabaseRole", ("spec", "reassignOwnedTo"), "role"),
    ],
)
def test_crd_has_the_rules_for_created_names(
    kind: Kind, path: tuple[str, ...], created: names.CreatedKind
) -> None:
    rules = texts(schema_at(kind, *path))
    assert f"self.matches('{names.CREATED_PATTERN}')" in rules
    assert names.CREATED_RULE in rules
    for name in names.RESERVED[created]:
        assert f"'{name}'" in rules
    reserves_prefix = f"!self.startsWith('{names.SYSTEM_PREFIX}')" in rules
    assert reserves_prefix == (created != "database")


@pytest.mark.parametrize(
    ("kind", "path", "problem"),
    [
        (
            "DatabaseCluster",
            ("spec", "connection"),
            names.secret_name_problem("?"),
        ),
        ("DatabaseCluster", ("spec", "connection"), names.label_problem("?")),
        ("DatabaseCluster", ("spec", "connection"), names.secret_key_problem("?")),
        ("DatabaseCluster", ("spec", "namePrefix"), names.name_prefix_problem("?")),
        (
            "DatabaseCluster",
            ("spec", "resyncInterval"),
            values.resync_interval_problem("?"),
        ),
        (
            "DatabaseCluster",
            ("spec", "resyncInterval"),
            values.resync_interval_problem("1s"),
        ),
        (
            "Database",
            ("spec", "databaseClusterRef", "name"),
            names.cluster_name_problem("?"),
        ),
        ("Database", ("spec", "timezone"), values.timezone_problem("?")),
        (
            "Database",
            ("spec", "databaseServiceName"),
            names.service_name_problem("?"),
        ),
        (
            "Database",
            ("spec", "databaseServiceName"),
            names.service_name_problem("kubernetes"),
        ),
        ("DatabaseRole", ("spec", "validUntil"), values.valid_until_problem("?")),
        ("DatabaseRole", ("spec", "password"), names.secret_name_problem("?")),
        ("DatabaseRole", ("spec", "password"), names.secret_key_problem("?")),
        (
            "DatabaseRole",
            ("spec", "permissions", "database"),
            names.referred_name_problem("\n"),
        ),
        (
            "DatabaseRole",
            ("spec", "permissions", "schemas", "tables"),
            COLUMNS_OF_ALL,
        ),
    ],
)
def test_crd_gives_the_same_answers_as_validation(
    kind: Kind, path: tuple[str, ...], problem: Problem
) -> None:
    assert problem.detail in texts(schema_at(kind, *path))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Database", ("spec", "name")),
        ("Database", ("spec", "databaseClusterRef", "name")),
        ("Database", ("spec", "encoding")),
        ("Database", ("spec", "localeProvider")),
        ("Database", ("spec", "locale")),
        ("Database", ("spec", "template")),
        ("Database", ("spec", "tablespace")),
        ("DatabaseRole", ("spec", "roleName")),
        ("DatabaseRole", ("spec", "databaseClusterRef", "name")),
    ],
)
def test_crd_forbids_to_change_what_names_an_object(
    kind: Kind, path: tuple[str, ...]
) -> None:
    assert "self == oldSelf may not be changed; " in texts(schema_at(kind, *path))


def rules_of_objects(schema: Schema) -> Iterator[Schema]:
    """Yield every rule that a schema has for an object as a whole."""
    if schema.get("type") == "object":
        yield from schema.get("x-kubernetes-validations", ())
    inner = [*schema.get("properties", {}).values(), schema.get("items")]
    inner.append(schema.get("additionalProperties"))
    for part in inner:
        if isinstance(part, dict):
            yield from rules_of_objects(part)


# What a broken rule means for an entry whose key is that of the stored one, in short:
# there is no budget for more where so many entries can be.
SHORT: Mapping[str, str] = {
    "(self.name != '*' || !has(self.columns))": "has(oldSelf.value().columns)",
}


@KINDS
def test_rule_for_an_object_stops_no_change_of_what_is_stored(kind: Kind) -> None:
    """Such a rule is judged anew at every change, whatever in the object it is about.

    The rule of a field alone is not, while the field stays as it is.
    """
    found = list(rules_of_objects(schema_at(kind)))
    assert found
    for rule in found:
        must, _, had_it = " ".join(rule["rule"].split()).partition(" || oldSelf.")
        before = SHORT.get(must, "!" + re.sub(r"\bself\b", "oldSelf.value()", must))
        assert f"oldSelf.{had_it}" == f"oldSelf.hasValue() && {before}", rule
        assert rule["optionalOldSelf"] is True, rule
