"""A role that its DatabaseCluster lets in no more: it loses what others take back.

What they still let it have it keeps, so that a slip of the administrator cuts nobody
off, and it gets nothing new.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from pg_operator.reconcilers.outcome import Key, Outcome
from pg_operator.reconcilers.planning import plan_object
from pg_operator.reconcilers.progress import Blocked
from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage
from tests.integration.test_reconcile_statements import logged_since
from tests.localcluster.postgres import PostgresServer

CLUSTER = {"connection": {"name": "dsn"}}
SHUT: dict[str, Any] = {"allowedNamespaces": {"from": "Names", "names": ["shop"]}}
PREFIXED: dict[str, Any] = {"namePrefix": "x_"}


class Guest:
    """A role of namespace `crm` in a database of namespace `shop`, and its own."""

    def __init__(self, stage: Stage, bed: Bed) -> None:
        self.stage = stage
        self.bed = bed
        self.name = bed.name("guest")
        self.theirs, self.own = bed.name("theirs"), bed.name("own")
        self.key = Key("DatabaseRole", "crm", "guest")
        self.status: Mapping[str, Any] = {}

    def allow(self, **cluster: Any) -> None:
        """Say whom the DatabaseCluster lets in, and what it lists."""
        self.stage.put("DatabaseCluster", "main", {**CLUSTER, **cluster})

    async def open(self, *, is_open: bool) -> None:
        """Have the other namespace's Database let this one in, or not."""
        allowed = {"from": "Names", "names": ["crm"]} if is_open else {"from": "Same"}
        spec = {"name": self.theirs, "allowedNamespaces": allowed, **MAIN}
        key = self.stage.put("Database", "theirs", spec, namespace="shop")
        await self.stage.reconcile(key)

    async def declare(self, *words: str, **spec: Any) -> None:
        """Want words on both databases."""
        wanted = [
            {"database": name, "privileges": list(words)}
            for name in (self.theirs, self.own)
        ]
        spec = {"roleName": self.name, "permissions": wanted, **spec, **MAIN}
        self.stage.put(
            "DatabaseRole", "guest", spec, namespace="crm", status=self.status
        )

    async def settle(self) -> Outcome:
        """Be let in everywhere, with CONNECT and CREATE on both databases."""
        self.allow()
        own = {"name": self.own, **MAIN}
        key = self.stage.put("Database", "own", own, namespace="crm")
        await self.stage.reconcile(key)
        await self.open(is_open=True)
        await self.declare("CONNECT", "CREATE")
        reason, message, outcome = await self.stage.reconcile(self.key)
        assert reason == "Reconciled", message
        self.status = outcome.status
        await self.declare("CONNECT", "CREATE")
        return outcome

    async def look(self) -> tuple[str, Outcome]:
        """Reconcile the role, and return the reason of its Ready condition."""
        reason, _, outcome = await self.stage.reconcile(self.key)
        return reason, outcome

    async def words(self, database: str) -> set[str]:
        """Return what it holds on a database."""
        grants = (await self.bed.role(self.name)).grants
        return {one.privilege for one in grants if one.on.database == database}


@pytest.fixture
async def guest(stage: Stage, bed: Bed) -> Guest:
    """A role with grants in its own database and in another namespace's."""
    guest = Guest(stage, bed)
    await guest.settle()
    return guest


@pytest.mark.parametrize("shut", [SHUT, PREFIXED], ids=["namespace", "prefix"])
async def test_shut_out_role_loses_what_a_database_takes_back(
    guest: Guest, shut: dict[str, Any]
) -> None:
    guest.allow(**shut)
    await guest.open(is_open=False)

    reason, outcome = await guest.look()

    assert reason == "NotAllowed"
    assert await guest.words(guest.theirs) == set()
    assert await guest.words(guest.own) == {"CONNECT", "CREATE"}
    assert [event.reason for event in outcome.events] == ["RoleUpdated", "NotAllowed"]
    assert outcome.status["grants"]["desired"] == 2
    assert (await guest.bed.role(guest.name)).login is False
    assert outcome.requeue_after is None  # there is nothing more to take

    guest.allow()
    await guest.open(is_open=True)
    assert (await guest.look())[0] == "Reconciled"
    assert await guest.words(guest.theirs) == {"CONNECT", "CREATE"}


async def test_shut_out_role_keeps_what_it_has_and_nothing_is_written(
    guest: Guest,
) -> None:
    before = await guest.bed.role(guest.name)
    guest.allow(**SHUT)
    await guest.declare(
        "CONNECT",
        "CREATE",
        "TEMPORARY",
        login=True,
        connectionLimit=3,
        parameters={"work_mem": "8MB"},
    )
    assert (await guest.look())[0] == "NotAllowed"
    assert await guest.bed.role(guest.name) == before


async def test_shut_out_role_loses_what_leaves_its_spec_and_gets_nothing(
    guest: Guest,
) -> None:
    guest.allow(**SHUT)
    await guest.declare("CONNECT", "TEMPORARY")
    assert (await guest.look())[0] == "NotAllowed"
    assert await guest.words(guest.theirs) == {"CONNECT"}
    assert await guest.words(guest.own) == {"CONNECT"}

    guest.allow()
    assert (await guest.look())[0] == "Reconciled"
    assert await guest.words(guest.own) == {"CONNECT", "TEMPORARY"}


async def test_shut_out_role_loses_memberships_attributes_and_parameters_struck_off(
    guest: Guest, stage: Stage, bed: Bed
) -> None:
    staff = bed.name("staff")
    await bed.execute(f'CREATE ROLE "{staff}"')
    lists: dict[str, Any] = {
        "allowedMemberships": [staff],
        "allowedRoleAttributes": ["CREATEDB"],
    }
    guest.allow(**lists)
    spec = {
        "memberOf": [{"role": staff}],
        "attributes": ["CREATEDB"],
        "parameters": {"work_mem": "8MB"},
    }
    await guest.declare("CONNECT", **spec)
    assert (await guest.look())[0] == "Reconciled"

    guest.allow(**SHUT, **lists)
    await guest.look()
    role = await bed.role(guest.name)
    assert {one.role for one in role.memberships} == {staff}
    assert role.attributes == {"CREATEDB"}

    guest.allow(**SHUT)
    await guest.declare("CONNECT", **{**spec, "parameters": {}})
    assert (await guest.look())[0] == "NotAllowed"
    role = await bed.role(guest.name)
    assert (role.memberships, role.attributes) == (frozenset(), frozenset())
    assert not role.parameters


async def test_shut_out_object_learns_nothing_about_roles_of_others(
    guest: Guest, stage: Stage, bed: Bed
) -> None:
    by_hand = bed.name("by_hand")
    await bed.execute(f'CREATE ROLE "{by_hand}"')
    guest.allow(**SHUT, adoption={"policy": "Released"})
    messages = set()
    for name in (by_hand, guest.name, bed.name("absent")):
        key = stage.put(
            "DatabaseRole",
            "other",
            {"roleName": name, "adopt": True, **MAIN},
            namespace="crm",
        )
        messages.add((await stage.reconcile(key))[:2])
    [(reason, message)] = messages
    assert (reason, "may not use DatabaseCluster" in message) == ("NotAllowed", True)


async def test_object_that_never_was_let_in_asks_the_server_nothing(
    guest: Guest, server: PostgresServer
) -> None:
    guest.allow(**SHUT)
    assert await statements_of_look(guest, server) > 0
    guest.status = {}
    await guest.declare("CONNECT")
    assert await statements_of_look(guest, server) == 0


async def statements_of_look(guest: Guest, server: PostgresServer) -> int:
    """Return how many statements a look at a role that is refused takes."""
    begin = server.log.stat().st_size
    reason, _ = await guest.look()
    assert reason == "NotAllowed"
    return logged_since(server, begin)


async def test_plan_of_a_shut_out_role_shows_only_what_is_taken_away(
    guest: Guest, stage: Stage
) -> None:
    guest.allow(**SHUT)
    await guest.declare("CONNECT", "CREATE", connectionLimit=3)
    role = stage.cache.get(guest.key)
    assert role is not None
    with pytest.raises(Blocked, match="may not use DatabaseCluster"):
        await plan_object(stage.context, guest.key, role)

    await guest.open(is_open=False)
    draft = await plan_object(stage.context, guest.key, role)
    assert draft.refused is not None
    assert draft.refused.reason == "NotAllowed"
    [revoke] = [one.sql for one in draft.statements if not one.is_mark]
    assert revoke.startswith(
        f'REVOKE CONNECT, CREATE ON DATABASE "{guest.theirs}" FROM "{guest.name}"'
    )
