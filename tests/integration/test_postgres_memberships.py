"""Memberships on a real server: what members may do, and who gave what."""

from dataclasses import replace

import psycopg
import pytest
from psycopg import errors

from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import Entitlements
from pg_operator.plan.memberships import desired_memberships
from pg_operator.plan.operations import GrantMembership
from pg_operator.plan.rights import MEMBERSHIP_OPTIONS
from pg_operator.plan.state import Membership
from pg_operator.postgres.applied import Applied
from tests.integration.postgres_bed import Bed, open_bed, run_as_superuser


def needs_options(bed: Bed) -> None:
    if bed.server.version_number < MEMBERSHIP_OPTIONS:
        pytest.skip("memberships have no options before PostgreSQL 16")


async def plan(bed: Bed, role: str, *entries: dict[str, object]) -> Plan:
    """Plan a role with `memberOf`, as the reconciler does."""
    spec = DatabaseRoleSpec.parse(
        {
            "roleName": role,
            "databaseClusterRef": {"name": "main"},
            "memberOf": list(entries),
        }
    )
    version = bed.server.version_number
    memberships = desired_memberships(spec.member_of, server_version=version)
    return await bed.plan_role(spec, Entitlements(memberships))


async def join(bed: Bed, role: str, *entries: dict[str, object]) -> Applied:
    return await bed.apply(*(await plan(bed, role, *entries)).operations)


async def test_member_may_do_what_its_group_may_until_it_leaves(bed: Bed) -> None:
    group, role, database = bed.name("readers"), bed.name("app"), bed.name("db")
    await bed.create_database(database)
    await bed.execute("CREATE SCHEMA app", "CREATE TABLE app.t ()", database=database)
    await bed.create_role(group, login=False)
    await bed.create_role(role)
    await bed.grant(group, "CONNECT", database=database)
    await bed.grant(group, "USAGE", database=database, schema="app")
    await bed.grant(group, "SELECT", database=database, schema="app", table="t")

    assert (await join(bed, role, {"role": group})).pending == ()
    assert await plan(bed, role, {"role": group}) == Plan()
    async with bed.login(role, database) as connection:
        await connection.execute("SELECT FROM app.t")
        assert (await join(bed, role)).pending == ()
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute("SELECT FROM app.t")
    assert (await bed.role(role)).memberships == frozenset()
    assert await plan(bed, role) == Plan()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        async with bed.login(role, database):
            pass


async def test_admin_option_is_given_and_taken_with_what_was_passed_on(
    bed: Bed,
) -> None:
    group, role, other = (bed.name(name) for name in ("staff", "lead", "other"))
    for name in (group, role, other):
        await bed.create_role(name)
    await join(bed, role, {"role": group, "admin": True})
    async with bed.login(role, "postgres") as connection:
        await connection.execute(f"GRANT {group} TO {other}".encode())
    assert (await join(bed, role, {"role": group})).pending == ()
    assert await plan(bed, role, {"role": group}) == Plan()
    (row,) = (await bed.role(role)).memberships
    assert (row.role, row.admin) == (group, False)
    if bed.server.version_number >= MEMBERSHIP_OPTIONS:
        assert (await bed.role(other)).memberships == frozenset()


async def test_options_decide_what_a_member_may_do(bed: Bed) -> None:
    needs_options(bed)
    group, role = bed.name("staff"), bed.name("app")
    await bed.create_role(group, login=False)
    await bed.create_role(role)
    for options in (
        {"inherit": False, "set": True},
        {"inherit": True, "set": False},
        {"inherit": True, "set": True},
    ):
        entry = {"role": group, **options}
        assert (await join(bed, role, entry)).pending == ()
        assert await plan(bed, role, entry) == Plan()
        async with bed.login(role, "postgres") as connection:
            cursor = await connection.execute(
                "SELECT pg_has_role(%s, 'USAGE'), pg_has_role(%s, 'SET')",
                (group, group),
            )
            assert await cursor.fetchone() == (options["inherit"], options["set"])


async def test_membership_of_another_grantor_stays_beside_ours(
    bed: Bed, superuser_dsn: str
) -> None:
    needs_options(bed)
    group, role = bed.name("staff"), bed.name("app")
    await bed.create_role(group, login=False)
    await bed.create_role(role)
    await run_as_superuser(superuser_dsn, f"GRANT {group} TO {role} WITH INHERIT FALSE")
    (foreign,) = (await bed.role(role)).memberships
    assert not foreign.own
    assert await plan(bed, role) == Plan()

    await join(bed, role, {"role": group})
    rows = (await bed.role(role)).memberships
    ours = Membership(
        group, admin=False, inherit=True, set=True, grantor=bed.server.login
    )
    assert rows == {foreign, ours}


async def test_own_membership_is_as_declared_whatever_another_granted(
    bed: Bed, superuser_dsn: str
) -> None:
    """What another granted may be gone tomorrow."""
    needs_options(bed)
    group, role = bed.name("staff"), bed.name("app")
    await bed.create_role(group, login=False)
    await bed.create_role(role)
    await join(bed, role, {"role": group, "inherit": False})
    await run_as_superuser(superuser_dsn, f"GRANT {group} TO {role}")
    await join(bed, role, {"role": group})
    rows = (await bed.role(role)).memberships
    assert {(row.own, row.inherit) for row in rows} == {(True, True), (False, True)}


async def test_membership_that_only_another_can_end_stays_pending_and_on_record(
    bed: Bed, superuser_dsn: str
) -> None:
    needs_options(bed)
    group, role = bed.name("staff"), bed.name("app")
    await bed.create_role(group, login=False)
    await bed.create_role(role)
    await run_as_superuser(superuser_dsn, f"GRANT {group} TO {role}")
    await join(bed, role, {"role": group})  # satisfied by what there is
    applied = await join(bed, role)
    (pending,) = applied.pending
    assert pending.path == f"spec.memberOf[{group}]"
    assert (await plan(bed, role)).operations != ()

    async with open_bed(superuser_dsn) as superuser:
        root = replace(superuser, keyring=bed.keyring, prefix=bed.prefix)
        assert (await join(root, role)).pending == ()
    assert (await bed.role(role)).memberships == frozenset()


async def test_two_roles_cannot_be_members_of_each_other(bed: Bed) -> None:
    one, other = bed.name("one"), bed.name("other")
    await bed.create_role(one)
    await bed.create_role(other)
    await join(bed, one, {"role": other})
    applied = await join(bed, other, {"role": one})
    (pending,) = applied.pending
    assert pending.path == f"spec.memberOf[{one}]"
    assert "is a member of role" in pending.message


async def test_role_that_the_login_may_not_give_is_pending(
    bed: Bed, superuser_dsn: str
) -> None:
    needs_options(bed)
    role = bed.name("app")
    await bed.create_role(role)
    applied = await join(bed, role, {"role": "pg_read_all_data"})
    (pending,) = applied.pending
    assert pending.reason == "MissingPrivilege"
    assert (await bed.role(role)).memberships == frozenset()


async def test_group_is_dropped_with_its_memberships_and_so_is_a_member(
    bed: Bed,
) -> None:
    group, role = bed.name("staff"), bed.name("app")
    await bed.create_role(group)
    await bed.create_role(role)
    await bed.apply(
        GrantMembership(role, _membership(bed, group)),
    )
    await bed.execute(f"DROP ROLE {group}")
    assert (await bed.role(role)).memberships == frozenset()
    await bed.execute(f"DROP ROLE {role}")


def _membership(bed: Bed, role: str) -> Membership:
    if bed.server.version_number < MEMBERSHIP_OPTIONS:
        return Membership(role)
    return Membership(role, inherit=True, set=True)
