"""The CRDs say the same as `pg_operator.api`: fields, words and limits."""

import types
import typing
from typing import get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from pg_operator.api import names, values
from pg_operator.api.conditions import LONGEST_MESSAGE, Reason
from pg_operator.api.privileges import ObjectKind, words
from pg_operator.api.specs import GROUP, PLURALS, SPECS, VERSION, Kind
from pg_operator.api.validation import (
    adoption,
    attributes,
    cluster,
    common,
    connection_secret,
    database,
    extensions,
    memberships,
    parameters,
    permissions,
    role,
)
from tests.unit.crds import (
    CHECKOUT,
    KINDS,
    Schema,
    crd,
    fields,
    schema_at,
    version,
)


def model_of(annotation: object) -> type[BaseModel] | None:
    """Return the model in an annotation such as `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (model_of(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def choices_of(annotation: object) -> set[str] | None:
    """Return the strings of a Literal, if the annotation has one."""
    if get_origin(annotation) is typing.Literal:
        return set(get_args(annotation))
    if get_origin(annotation) in {typing.Union, types.UnionType}:
        found = (choices_of(argument) for argument in get_args(annotation))
        return next((choices for choices in found if choices), None)
    return None


def assert_same_fields(schema: Schema, model: type[BaseModel], *, path: str) -> None:
    schema = schema.get("items", schema)
    by_name = {field.alias: field for field in model.model_fields.values()}
    assert set(schema["properties"]) == set(by_name), path
    needed = {name for name, field in by_name.items() if field.is_required()}
    assert set(schema.get("required", [])) == needed, path
    for name, field in by_name.items():
        assert name is not None
        inner = schema["properties"][name]
        if (nested := model_of(field.annotation)) is not None:
            assert_same_fields(inner, nested, path=f"{path}.{name}")


@KINDS
def test_crd_has_exactly_the_fields_of_the_model(kind: Kind) -> None:
    assert_same_fields(schema_at(kind, "spec"), SPECS[kind], path="spec")


@KINDS
def test_crd_offers_the_choices_of_the_model(kind: Kind) -> None:
    for name, field in SPECS[kind].model_fields.items():
        if (choices := choices_of(field.annotation)) is not None:
            assert field.alias is not None
            schema = schema_at(kind, "spec", field.alias)
            assert set(schema["enum"]) == choices, name


def test_crds_offer_the_choices_of_validation() -> None:
    def choices(kind: Kind, *path: str) -> tuple[str, ...]:
        return tuple(schema_at(kind, "spec", *path)["enum"])

    allowed = ("allowedNamespaces", "from")
    assert choices("DatabaseCluster", "adoption", "policy") == adoption.POLICIES
    assert choices("DatabaseCluster", *allowed) == cluster.NAMESPACE_CHOICES
    assert choices("Database", *allowed) == database.NAMESPACE_CHOICES
    assert choices("Database", "deletionPolicy") == database.DELETION_POLICIES
    assert choices("Database", "publicPrivileges") == database.PUBLIC_PRIVILEGES
    hosts = choices("DatabaseRole", "connectionSecret", "host")
    assert hosts == connection_secret.HOSTS
    for schema in (
        schema_at("DatabaseRole", "spec", "attributes"),
        schema_at("DatabaseCluster", "spec", "allowedRoleAttributes"),
    ):
        assert tuple(schema["items"]["enum"]) == attributes.ATTRIBUTES
    assert choices("DatabaseRole", "deletionPolicy") == role.DELETION_POLICIES
    assert choices("DatabaseRole", "grantsPolicy") == role.GRANTS_POLICIES
    assert sorted(choices("Database", "encoding")) == sorted(values.SERVER_ENCODINGS)


def test_crds_refuse_the_groups_that_validation_refuses() -> None:
    refused = memberships.HOST_ROLES | names.RESERVED["role"]
    entry = schema_at("DatabaseRole", "spec", "memberOf", "role")
    assert set(entry["not"]["enum"]) == refused
    allowed = schema_at("DatabaseCluster", "spec", "allowedMemberships")
    assert set(allowed["items"]["not"]["enum"]) == refused


PERMISSIONS = ("spec", "permissions")
SCHEMAS = (*PERMISSIONS, "schemas")
TABLES = (*SCHEMAS, "tables")
COLUMNS = (*TABLES, "columns")
SEQUENCES = (*SCHEMAS, "sequences")
FUNCTIONS = (*SCHEMAS, "functions")
TYPES = (*SCHEMAS, "types")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (PERMISSIONS, "database"),
        (SCHEMAS, "schema"),
        (TABLES, "table"),
        (COLUMNS, "column"),
        (SEQUENCES, "sequence"),
        (FUNCTIONS, "function"),
        (TYPES, "type"),
    ],
)
def test_crd_offers_the_words_of_the_table_of_privileges(
    path: tuple[str, ...], kind: ObjectKind
) -> None:
    privileges = schema_at("DatabaseRole", *path, "privileges")
    assert tuple(privileges["items"]["enum"]) == words(kind)
    assert privileges["x-kubernetes-list-type"] == "atomic"
    assert {"maxItems": 1} in privileges["anyOf"]  # ALL stands alone


def test_crds_have_the_limits_of_validation() -> None:
    def most(kind: Kind, *path: str) -> int:
        return int(schema_at(kind, *path)["maxItems"])

    assert most("DatabaseRole", *PERMISSIONS) == permissions.MOST_PERMISSIONS
    assert most("DatabaseRole", *SCHEMAS) == permissions.MOST_SCHEMAS
    assert most("DatabaseRole", *TABLES) == permissions.MOST_TABLES
    assert most("DatabaseRole", *COLUMNS) == permissions.MOST_COLUMNS
    assert most("DatabaseRole", *SEQUENCES) == permissions.MOST_SEQUENCES
    assert most("DatabaseRole", *FUNCTIONS) == permissions.MOST_FUNCTIONS
    assert most("DatabaseRole", *TYPES) == permissions.MOST_TYPES
    signature = schema_at("DatabaseRole", *FUNCTIONS, "name")
    assert signature["maxLength"] == names.LONGEST_SIGNATURE
    for path in (TABLES, COLUMNS, SEQUENCES, FUNCTIONS, TYPES):
        words = most("DatabaseRole", *path, "privileges")
        assert words == permissions.MOST_PRIVILEGES
    assert most("Database", "spec", "schemas") == database.MOST_SCHEMAS
    assert most("DatabaseRole", "spec", "memberOf") == memberships.MOST_MEMBERSHIPS
    allowed = most("DatabaseCluster", "spec", "allowedMemberships")
    assert allowed == memberships.MOST_MEMBERSHIPS
    for schema in (
        schema_at("DatabaseRole", "spec", "parameters"),
        schema_at("DatabaseRole", *PERMISSIONS, "parameters"),
    ):
        assert schema["maxProperties"] == parameters.MOST_PARAMETERS
        longest = schema["additionalProperties"]["maxLength"]
        assert longest == parameters.LONGEST_VALUE
    namespaces = ("spec", "allowedNamespaces", "names")
    assert most("DatabaseCluster", *namespaces) == common.MOST_NAMESPACES
    assert most("Database", *namespaces) == common.MOST_NAMESPACES
    settings = schema_at("Database", "spec", "parameters")
    assert settings["maxProperties"] == parameters.MOST_PARAMETERS
    assert settings["additionalProperties"] == {
        "type": "string",
        "maxLength": parameters.LONGEST_VALUE,
    }
    creators = ("spec", "schemas", "creators")
    assert most("Database", *creators) == database.MOST_CREATORS
    for one in ("databases", "roles"):
        listed = most("DatabaseCluster", "spec", "adoption", one)
        assert listed == adoption.MOST_ADOPTABLE
    owner_ids = most("DatabaseCluster", "spec", "previousOwnerIds")
    assert owner_ids == adoption.MOST_OWNER_IDS
    assert most("Database", "spec", "extensions") == extensions.MOST_EXTENSIONS
    for one in (
        "allowedOwners",
        "allowedParameters",
        "allowedExtensions",
        "allowedTablespaces",
    ):
        assert most("DatabaseCluster", "spec", one) == cluster.MOST_ALLOWED
    connections = schema_at("DatabaseCluster", "spec", "maxConnections")
    assert connections["maximum"] == cluster.MOST_CONNECTIONS


@KINDS
def test_every_field_of_a_spec_says_what_it_is_by_example(kind: Kind) -> None:
    spec = schema_at(kind, "spec")
    for path, field in fields(spec):
        assert "Example:" in field["description"], path


@KINDS
def test_every_optional_field_of_a_spec_says_what_holds_without_it(kind: Kind) -> None:
    def walk(schema: Schema) -> None:
        schema = schema.get("items", schema)
        for name, field in schema.get("properties", {}).items():
            if name not in schema.get("required", []):
                assert "Default:" in field["description"], name
            walk(field)

    walk(schema_at(kind, "spec"))


@KINDS
def test_every_list_and_text_of_a_crd_is_bounded(kind: Kind) -> None:
    whole = {"spec": schema_at(kind, "spec"), "status": schema_at(kind, "status")}
    for path, field in fields({"properties": whole}):
        for schema in (field, field.get("items", {})):
            if schema.get("type") == "array":
                assert "maxItems" in schema, path
                assert "x-kubernetes-list-type" in schema, path
            if schema.get("type") == "string":
                bounded = {"maxLength", "enum", "format"} & set(schema)
                assert bounded, path


@KINDS
def test_no_default_is_written_into_a_spec(kind: Kind) -> None:
    """What a user did not write stays out of the object, for those who compare."""
    assert not [
        path for path, field in fields(schema_at(kind, "spec")) if "default" in field
    ]


@KINDS
def test_fresh_object_is_never_taken_for_observed(kind: Kind) -> None:
    assert schema_at(kind, "status")["default"] == {"observedGeneration": -1}
    assert version(kind)["subresources"] == {"status": {}}


@KINDS
def test_status_holds_every_condition_there_is(kind: Kind) -> None:
    condition = schema_at(kind, "status", "conditions")["items"]["properties"]
    longest = max(len(reason) for reason in Reason)
    assert condition["reason"]["maxLength"] >= longest
    assert condition["message"]["maxLength"] == LONGEST_MESSAGE


@KINDS
def test_columns_show_ready_and_why(kind: Kind) -> None:
    columns = {
        c["name"]: c["jsonPath"] for c in version(kind)["additionalPrinterColumns"]
    }
    ready = '.status.conditions[?(@.type=="Ready")]'
    assert columns["Ready"] == f"{ready}.status"
    assert columns["Reason"] == f"{ready}.reason"
    assert columns["Message"] == f"{ready}.message"


@KINDS
def test_crd_is_named_as_the_code_names_it(kind: Kind) -> None:
    spec = crd(kind)["spec"]
    assert (spec["group"], version(kind)["name"]) == (GROUP, VERSION)
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (kind, PLURALS[kind])
    assert spec["names"]["categories"] == ["pgop"]


def test_short_names_do_not_collide_with_each_other() -> None:
    short = [
        name for kind in SPECS for name in crd(kind)["spec"]["names"]["shortNames"]
    ]
    assert short == ["pgcluster", "pgdb", "pgrole"]


def test_kustomization_lists_every_crd() -> None:
    listed = yaml.safe_load((CHECKOUT / "crds" / "Kustomization").read_text())
    files = {path.name for path in (CHECKOUT / "crds").glob("*.yaml")}
    assert set(listed["resources"]) == files
    assert len(files) == len(SPECS)
