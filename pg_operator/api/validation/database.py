"""The rules for a Database. Pure."""

from functools import partial
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import (
    created_name_problem,
    role_reference_problem,
    service_name_problem,
    tablespace_problem,
)
from pg_operator.api.validation.common import (
    check_allowed_namespaces,
    check_cluster_reference,
    check_connection_limit,
    check_role_names,
    forbid_change,
)
from pg_operator.api.validation.extensions import check_extensions
from pg_operator.api.validation.parameters import check_parameters
from pg_operator.api.values import encoding_problem, locale_problem, timezone_problem

MOST_SCHEMAS: Final = 32
MOST_CREATORS: Final = 16
NAMESPACE_CHOICES: Final = ("All", "Same", "None", "Names", "Selector")
PUBLIC_PRIVILEGES: Final = ("Revoke", "Keep")
LOCALE_PROVIDERS: Final = ("libc", "icu", "builtin")
TEMPLATES: Final = ("template0", "template1")
DELETION_POLICIES: Final = ("Retain", "Delete")


def check_database(spec: Field) -> None:
    """Check the spec of a Database."""
    name = spec["name"].require("must be the name of the database in PostgreSQL")
    name.check_text(partial(created_name_problem, "database"))
    check_cluster_reference(spec["databaseClusterRef"])
    spec["owner"].check_text(role_reference_problem)
    _check_schemas(spec)
    spec["encoding"].check_text(encoding_problem)
    _check_locale(spec)
    spec["template"].check_text(_template_problem)
    spec["tablespace"].check_text(tablespace_problem)
    _check_parameters(spec)
    check_connection_limit(spec["connectionLimit"])
    check_extensions(spec["extensions"])
    spec["databaseServiceName"].check_text(service_name_problem)
    spec["publicPrivileges"].check_choice(*PUBLIC_PRIVILEGES)
    check_allowed_namespaces(spec["allowedNamespaces"], choices=NAMESPACE_CHOICES)
    spec["adopt"].check_boolean()
    policy = spec["deletionPolicy"]
    policy.check_choice(*DELETION_POLICIES)
    if policy.value == "Delete":
        policy.warn("deleting this object will drop the database with all its data")


def check_database_change(new: Field, old: Field) -> None:
    """Check that what can only be chosen at creation stays as it was chosen."""
    advice = "create a new Database and migrate the data"
    forbid_change(new["name"], old["name"], advice=advice)
    forbid_change(
        new["databaseClusterRef"]["name"],
        old["databaseClusterRef"]["name"],
        advice=advice,
    )
    for name in ("encoding", "localeProvider", "locale", "template", "tablespace"):
        forbid_change(new[name], old[name], advice=advice)


def _check_locale(spec: Field) -> None:
    provider, locale = spec["localeProvider"], spec["locale"]
    provider.check_choice(*LOCALE_PROVIDERS)
    if provider.value in ("icu", "builtin"):  # a list cannot be in a set
        locale.require(f"must be set when `localeProvider` is '{provider.value}'")
    locale.check_text(locale_problem)


def _template_problem(name: str) -> Problem | None:
    return None if name in TEMPLATES else created_name_problem("database", name)


def _check_parameters(spec: Field) -> None:
    timezone, parameters = spec["timezone"], spec["parameters"]
    if timezone.is_present and parameters["timezone"].is_present:
        detail = "may not be set together with `parameters.timezone`; remove one"
        timezone.refuse(Problem("timezone-twice", detail, "FieldValueForbidden"))
    timezone.check_text(timezone_problem)
    check_parameters(parameters)


def _check_schemas(spec: Field) -> None:
    single, several = spec["schema"], spec["schemas"]
    if single.is_present and several.is_present:
        detail = "may not be set together with `schemas`; list every schema there"
        single.refuse(Problem("schema-xor-schemas", detail, "FieldValueForbidden"))
    _check_schema_name(single)
    for schema in several.entries(most=MOST_SCHEMAS, list_key="name"):
        _check_schema_name(schema["name"].require("must be the name of a schema"))
        schema["owner"].check_text(role_reference_problem)
        check_role_names(schema["creators"], most=MOST_CREATORS)


def _check_schema_name(name: Field) -> None:
    name.check_text(partial(created_name_problem, "schema"))
    if name.value == "public":
        name.warn(
            "schema 'public' is in every database; before PostgreSQL 15 every role "
            "may create objects in it"
        )
