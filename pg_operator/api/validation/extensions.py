"""The rules for extensions, wherever they are named. Pure."""

import re
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import is_system_schema, referred_name_problem

MOST_EXTENSIONS: Final = 32

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_VERSION = re.compile(r"[A-Za-z0-9_.]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_.])?\Z")


def check_extensions(extensions: Field) -> None:
    """Check the extensions of a database."""
    for extension in extensions.entries(most=MOST_EXTENSIONS, list_key="name"):
        name = extension["name"].require("must be the name of an extension")
        name.check_text(extension_problem)
        schema = extension["schema"].require("must be the schema it is created in")
        schema.check_text(_schema_problem)
        extension["version"].check_text(_version_problem)


def extension_problem(name: str) -> Problem | None:
    """Return why no extension has this name (check_valid_extension_name)."""
    if _NAME.match(name) and "--" not in name:
        return None
    detail = "must be the name of an extension, such as 'pg_trgm' or 'uuid-ossp'"
    return Problem("extension-name", detail)


def _schema_problem(name: str) -> Problem | None:
    if is_system_schema(name):
        detail = "must not be a schema of PostgreSQL itself; choose one of the database"
        return Problem("system-schema", detail, "FieldValueForbidden")
    return referred_name_problem(name)


def _version_problem(version: str) -> Problem | None:
    if _VERSION.match(version) and "--" not in version:
        return None
    return Problem("extension-version", "must be a version, such as '1.6'")
