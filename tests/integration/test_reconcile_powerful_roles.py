"""Roles that are, or may become, a superuser or our login are named by no tenant.

Neither a list of the DatabaseCluster nor a role of the namespace's own that somebody
made powerful by hand goes that far.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pg_operator.reconcilers.outcome import Outcome
from tests.integration.postgres_bed import Bed, run_as_superuser
from tests.integration.reconcile_bed import MAIN, Stage, on_stage

TENANT = "tenant"
OWNERS = """
SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %(name)s
UNION ALL SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'app'
"""
DEFAULTS = "SELECT pg_get_userbyid(defaclrole) FROM pg_default_acl"
GROUPS = """
SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %(name)s::regrole
"""


@pytest.fixture
async def powerful(bed: Bed, superuser_dsn: str) -> list[str]:
    """A superuser, a member of it, our login, and a member of that, by name."""
    root, heir, deputy = bed.name("root"), bed.name("heir"), bed.name("deputy")
    await run_as_superuser(
        superuser_dsn,
        f"CREATE ROLE {root} SUPERUSER",
        f"CREATE ROLE {heir} IN ROLE {root}",
        f"CREATE ROLE {deputy} NOINHERIT IN ROLE pgop_admin",
    )
    return [root, heir, "pgop_admin", deputy]


@pytest.fixture(params=["admin", "superuser"])
async def listing(
    request: pytest.FixtureRequest,
    powerful: list[str],
    admin_dsn: str,
    superuser_dsn: str,
) -> AsyncIterator[tuple[Stage, list[str]]]:
    """A DatabaseCluster of either kind of login, that lists them all."""
    is_admin = request.param == "admin"
    # To a superuser's DatabaseCluster the other login is nobody special.
    listed = powerful if is_admin else powerful[:2]
    lists = {"allowedOwners": listed, "allowedMemberships": listed}
    async with on_stage(admin_dsn if is_admin else superuser_dsn, **lists) as stage:
        yield stage, listed


def refused(outcome: Outcome) -> int:
    """Count the entries that may not be named."""
    message = next(c.message for c in outcome.conditions if c.type == "Ready")
    return message.count("is, or may become, a superuser or the operator's own login")


async def read(stage: Stage, query: str, *, name: str, database: str) -> set[Any]:
    (link,) = stage.context.servers.links().values()
    async with link.connections.session(database) as connection:
        cursor = await connection.execute(query.encode(), {"name": name})
        return {value for (value,) in await cursor.fetchall()}


async def test_tenant_makes_none_of_them_an_owner_or_a_creator(
    bed: Bed, listing: tuple[Stage, list[str]]
) -> None:
    stage, roles = listing
    for number, role in enumerate(roles):
        name, user = bed.name(f"shop{number}"), bed.name(f"user{number}")
        everything = [{"name": "*", "privileges": ["SELECT"]}]
        app = {"name": "app", "privileges": ["USAGE"], "tables": everything}
        permission = {"database": name, "privileges": ["CONNECT"], "schemas": [app]}
        schema = {"name": "app", "owner": role, "creators": [role]}
        spec = {**MAIN, "name": name, "owner": role, "schemas": [schema]}
        shop = stage.put("Database", name, spec, namespace=TENANT)
        _, _, outcome = await stage.reconcile(shop)
        assert refused(outcome) == 3, outcome

        spec = {**MAIN, "name": name, "schemas": [{"name": "app", "creators": [role]}]}
        stage.put("Database", name, spec, namespace=TENANT)
        await stage.reconcile(shop)
        spec = {**MAIN, "roleName": user, "permissions": [permission]}
        reader = stage.put("DatabaseRole", user, spec, namespace=TENANT)
        await stage.reconcile(reader)

        login = "pgop_admin" if "pgop_admin" in roles else "postgres"
        assert await read(stage, OWNERS, name=name, database=name) == {login}
        assert await read(stage, DEFAULTS, name=name, database=name) == set()


async def test_tenant_joins_none_of_them(
    bed: Bed, listing: tuple[Stage, list[str]]
) -> None:
    stage, roles = listing
    name = bed.name("user")
    joined = [{"role": role} for role in roles]
    spec = {**MAIN, "roleName": name, "login": False, "memberOf": joined}
    user = stage.put("DatabaseRole", name, spec, namespace=TENANT)
    _, _, outcome = await stage.reconcile(user)
    assert refused(outcome) == len(roles), outcome
    assert await read(stage, GROUPS, name=name, database="postgres") == set()


async def test_tenant_leaves_nothing_to_a_role_that_became_powerful(
    bed: Bed, stage: Stage, powerful: list[str], superuser_dsn: str
) -> None:
    going, staying, name = bed.name("going"), bed.name("staying"), bed.name("shop")
    keys = {}
    for role in (going, staying):
        spec = {**MAIN, "roleName": role, "login": False, "deletionPolicy": "Delete"}
        if role == going:
            spec["reassignOwnedTo"] = staying
        keys[role] = stage.put("DatabaseRole", role, spec, namespace=TENANT)
        await stage.reconcile(keys[role])
    await run_as_superuser(superuser_dsn, f"CREATE DATABASE {name} OWNER {going}")
    await run_as_superuser(superuser_dsn, f"GRANT {powerful[0]} TO {staying}")
    stage.delete(keys[going])
    _, message, _ = await stage.reconcile(keys[going])
    assert not (await bed.role(going)).exists, message
    owners = await read(stage, OWNERS, name=name, database=name)
    assert len(owners) == 1
    assert owners.isdisjoint({staying, *powerful})
