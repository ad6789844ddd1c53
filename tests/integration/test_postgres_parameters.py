"""Settings of databases on a real server, and databases with few connections."""

import pytest

from pg_operator.plan.operations import (
    AlterDatabase,
    ResetDatabaseParameter,
    SetDatabaseParameter,
)
from pg_operator.plan.parameters import normalize
from pg_operator.postgres.errors import DatabaseFull
from pg_operator.postgres.observe_parameters import observe_parameter_contexts
from tests.integration.postgres_bed import Bed


async def test_settings_are_observed_as_they_were_set_and_reset(bed: Bed) -> None:
    name, role = bed.name("db"), bed.name("app")
    await bed.create_database(name)
    await bed.create_role(role)
    await bed.grant(role, "CONNECT", database=name)
    declared = {
        "search_path": '"$user", App, "User", user, a',
        "work_mem": "8MB",
        "datestyle": "ISO, DMY",
        "timezone": "Europe/Paris",
    }
    wanted = {key: normalize(key, value) for key, value in declared.items()}
    applied = await bed.apply(
        *(SetDatabaseParameter(name, key, value) for key, value in wanted.items())
    )
    assert applied.pending == ()
    assert (await bed.database(name)).settings == wanted
    async with bed.login(role, name) as connection:
        cursor = await connection.execute(
            "SELECT current_setting('search_path'), current_setting('work_mem')"
        )
        assert await cursor.fetchone() == ('"$user", app, "User", "user", a', "8MB")
    await bed.apply(*(ResetDatabaseParameter(name, key) for key in wanted))
    assert (await bed.database(name)).settings == {}


async def test_who_may_change_a_setting_is_known_by_its_lower_case_name(
    bed: Bed,
) -> None:
    names = ("timezone", "work_mem", "session_replication_role", "wal_level", "no.such")
    async with bed.connections.session() as connection:
        assert await observe_parameter_contexts(connection, (*names, "role")) == {
            "timezone": "user",
            "work_mem": "user",
            "session_replication_role": "superuser",
            "wal_level": "postmaster",
        }


async def test_database_with_few_connections_keeps_none_of_ours(bed: Bed) -> None:
    name, role = bed.name("db"), bed.name("app")
    await bed.create_database(name)
    await bed.create_role(role)
    await bed.grant(role, "CONNECT", database=name)
    await bed.apply(AlterDatabase(name, connection_limit=1))
    await bed.connections.spare(name, is_scarce=True)
    async with bed.connections.session(name):
        pass
    async with bed.login(role, name):
        with pytest.raises(DatabaseFull):
            async with bed.connections.session(name):
                pass
