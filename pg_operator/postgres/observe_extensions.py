"""Reads which extensions a database has, and which the server could give it."""

from collections.abc import Sequence
from typing import Final

from pg_operator.api.specs import Extension
from pg_operator.plan.state import Installed
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_rows

_INSTALLED: Final = """
SELECT e.extname::text, n.nspname::text, e.extversion
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
"""


_TRUSTED: Final = """
SELECT w.name, pg_catalog.bool_and(v.trusted)
FROM ROWS FROM (pg_catalog.unnest(%(names)s::text[]),
                pg_catalog.unnest(%(versions)s::text[])) AS w (name, version)
JOIN pg_catalog.pg_available_extensions AS a ON a.name = w.name
JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = a.name AND v.version = coalesce(w.version, a.default_version)
GROUP BY w.name
"""


async def observe_extensions(connection: Connection) -> dict[str, Installed]:
    """Read the extensions of the connected database."""
    found = await read_rows(connection, _INSTALLED)
    return {name: Installed(schema, version) for name, schema, version in found}


async def observe_trusted(
    connection: Connection, extensions: Sequence[Extension]
) -> dict[str, bool]:
    """Read which of some extensions are available, and whether they are trusted."""
    found = await read_rows(
        connection,
        _TRUSTED,
        names=[extension.name for extension in extensions],
        versions=[extension.version for extension in extensions],
    )
    return dict(found)
