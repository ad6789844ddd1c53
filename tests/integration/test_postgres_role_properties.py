"""Attributes and parameters on a real server: what sessions get of them."""

from typing import Any

import psycopg
import pytest

from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import Entitlements
from pg_operator.plan.role_properties import desired_properties
from pg_operator.plan.state import RoleParameter
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.observe_parameters import observe_parameter_contexts
from tests.integration.postgres_bed import Bed


async def plan(
    bed: Bed, role: str, *, allowed: tuple[str, ...] = (), **fields: Any
) -> Plan:
    """Plan a role with its attributes and parameters, as the reconciler does."""
    spec = DatabaseRoleSpec.parse(
        {"roleName": role, "databaseClusterRef": {"name": "main"}, **fields}
    )
    parameters = {RoleParameter(name): value for name, value in spec.parameters.items()}
    for permission in spec.permissions:
        for name, value in permission.parameters.items():
            parameters[RoleParameter(name, permission.database)] = value
    async with bed.connections.session() as connection:
        contexts = await observe_parameter_contexts(
            connection, {parameter.name for parameter in parameters}
        )
    properties = desired_properties(
        spec.attributes,
        parameters,
        allowed_attributes=allowed,
        allowed_parameters=allowed,
        contexts=contexts,
    )
    return await bed.plan_role(spec, Entitlements(properties=properties))


async def declare(
    bed: Bed, role: str, *, allowed: tuple[str, ...] = (), **fields: Any
) -> Applied:
    planned = await plan(bed, role, allowed=allowed, **fields)
    return await bed.apply(*planned.operations)


async def shown(bed: Bed, role: str, parameter: str, database: str) -> str:
    async with bed.login(role, database) as connection:
        cursor = await connection.execute(f"SHOW {parameter}".encode())
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])


async def test_sessions_start_with_the_parameters_and_without_those_that_left(
    bed: Bed,
) -> None:
    role, database = bed.name("app"), bed.name("db")
    await bed.create_role(role)
    await bed.create_database(database)
    await bed.grant(role, "CONNECT", database=database)
    fields: dict[str, Any] = {
        "parameters": {
            "work_mem": "5MB",
            "timezone": "Asia/Tokyo",
            "search_path": '"$user", app, "Odd, Name"',
            "application_name": "a, b",
        },
        "permissions": [{"database": database, "parameters": {"work_mem": "6MB"}}],
    }
    assert (await declare(bed, role, **fields)).pending == ()
    assert await plan(bed, role, **fields) == Plan()
    assert await shown(bed, role, "work_mem", "postgres") == "5MB"
    assert await shown(bed, role, "work_mem", database) == "6MB"
    assert await shown(bed, role, "timezone", database) == "Asia/Tokyo"
    assert await shown(bed, role, "application_name", database) == "a, b"
    path = await shown(bed, role, "search_path", database)
    assert path == '"$user", app, "Odd, Name"'

    await declare(bed, role, parameters={"timezone": "Asia/Tokyo"})
    assert await shown(bed, role, "work_mem", database) == "4MB"
    assert list((await bed.role(role)).parameters) == [RoleParameter("timezone")]


async def test_value_that_the_server_refuses_is_pending_and_the_rest_is_set(
    bed: Bed,
) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    applied = await declare(
        bed, role, parameters={"work_mem": "a lot", "timezone": "UTC"}
    )
    (pending,) = applied.pending
    assert pending.path == "spec.parameters[work_mem]"
    assert (await bed.role(role)).parameters == {RoleParameter("timezone"): "UTC"}


async def test_only_parameters_that_any_role_may_set_are_open(bed: Bed) -> None:
    names = {
        "work_mem",
        "timezone",
        "search_path",
        "log_statement",
        "session_preload_libraries",
        "session_replication_role",
        "shared_preload_libraries",
        "role",
        "session_authorization",
        "no.such",
    }
    async with bed.connections.session() as connection:
        contexts = await observe_parameter_contexts(connection, names)
    found = {name for name, context in contexts.items() if context == "user"}
    assert found == {"work_mem", "timezone", "search_path"}


async def test_listed_parameter_that_only_a_superuser_may_set_is_pending(
    bed: Bed,
) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    fields: dict[str, Any] = {"parameters": {"log_statement": "none"}}
    applied = await declare(bed, role, allowed=("log_statement",), **fields)
    (pending,) = applied.pending
    assert pending.reason == "MissingPrivilege"


async def test_attributes_are_given_and_taken_and_those_by_hand_stay(
    bed: Bed, superuser_dsn: str
) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    fields: dict[str, Any] = {"attributes": ["CREATEDB"]}
    assert (await declare(bed, role, allowed=("CREATEDB",), **fields)).pending == ()
    assert await plan(bed, role, allowed=("CREATEDB",), **fields) == Plan()
    await bed.execute(f"ALTER ROLE {role} CREATEROLE")
    assert (await bed.role(role)).attributes == {"CREATEDB", "CREATEROLE"}
    await declare(bed, role, **fields)  # no longer allowed
    assert (await bed.role(role)).attributes == {"CREATEROLE"}


async def test_attribute_that_the_login_cannot_give_is_pending(bed: Bed) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    applied = await declare(bed, role, allowed=("BYPASSRLS",), attributes=["BYPASSRLS"])
    (pending,) = applied.pending
    assert pending.path == "spec.attributes[BYPASSRLS]"
    assert pending.reason == "MissingPrivilege"
    assert (await bed.role(role)).attributes == frozenset()


async def test_password_that_ended_lets_nobody_in_until_it_is_valid_again(
    bed: Bed,
) -> None:
    role = bed.name("app")
    await bed.create_role(role)
    fields: dict[str, Any] = {
        "validUntil": "2001-01-01T01:00:00+01:00",
        "inherit": False,
    }
    await declare(bed, role, **fields)
    assert await plan(bed, role, **fields) == Plan()
    state = await bed.role(role)
    assert (state.valid_until, state.inherit) == ("2001-01-01T00:00:00Z", False)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        async with bed.login(role, "postgres"):
            pass
    await declare(bed, role, validUntil="infinity")
    async with bed.login(role, "postgres"):
        pass
    assert (await bed.role(role)).inherit is False  # it left, so it stays
