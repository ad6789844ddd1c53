"""Reads settings: what was set, and who may set what."""

from collections.abc import Collection
from typing import Final

from pg_operator.plan.parameters import normalize
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.rows import read_rows

_PARAMETER_CONTEXTS: Final = """
SELECT pg_catalog.lower(name), context FROM pg_catalog.pg_settings
WHERE pg_catalog.lower(name) = ANY (%(names)s)
"""


async def observe_parameter_contexts(
    connection: Connection, names: Collection[str]
) -> dict[str, str]:
    """Read who may change settings: pg_settings.context, by names in lower case."""
    found = await read_rows(connection, _PARAMETER_CONTEXTS, names=sorted(names))
    return dict(found)


def split_settings(pairs: Collection[str]) -> dict[str, str]:
    """Split pg_db_role_setting's name=value pairs."""
    split = (pair.partition("=") for pair in pairs)
    return {name.lower(): normalize(name.lower(), value) for name, _, value in split}
