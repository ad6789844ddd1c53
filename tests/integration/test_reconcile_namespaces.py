"""Objects of two namespaces on one server: what is whose, and who is let in."""

from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage


async def test_second_object_for_a_name_neither_gets_nor_drops_anything(
    stage: Stage, bed: Bed
) -> None:
    database = {"name": bed.name("shop"), "deletionPolicy": "Delete", **MAIN}
    role = {"roleName": bed.name("app"), "deletionPolicy": "Delete", **MAIN}
    first = (
        stage.put("Database", "shop", database, namespace="shop"),
        stage.put("DatabaseRole", "app", role, namespace="shop"),
    )
    second = (
        stage.put("Database", "shop", database, namespace="crm"),
        stage.put("DatabaseRole", "app", role, namespace="crm"),
    )
    for key in first:
        assert (await stage.reconcile(key))[0] == "Reconciled"
    marks = [(await bed.database(bed.name("shop"))).oid]
    marks.append((await bed.role(bed.name("app"))).oid)
    for key in second:
        assert (await stage.reconcile(key))[0] == "Conflict"
        stage.delete(key)
        assert (await stage.reconcile(key))[2].release
    assert marks == [
        (await bed.database(bed.name("shop"))).oid,
        (await bed.role(bed.name("app"))).oid,
    ]
    for key in first:
        assert (await stage.reconcile(key))[0] == "Reconciled"


async def test_role_is_granted_in_another_namespaces_database_while_it_is_open(
    stage: Stage, bed: Bed
) -> None:
    name, guest = bed.name("shop"), bed.name("guest")
    app = {"name": "app", "privileges": ["USAGE"]}
    permission = {"database": name, "privileges": ["CONNECT"], "schemas": [app]}
    spec = {"roleName": guest, "permissions": [permission], **MAIN}
    role = stage.put("DatabaseRole", "guest", spec, namespace="crm")
    for is_open in (False, True, False):
        allowed = {"from": "Names", "names": ["crm"]} if is_open else {"from": "Same"}
        spec = {"name": name, "schema": "app", "allowedNamespaces": allowed, **MAIN}
        database = stage.put("Database", "shop", spec, namespace="shop")
        await stage.reconcile(database)

        reason, message, _ = await stage.reconcile(role)

        assert (reason == "Reconciled") is is_open
        assert ("is not open to namespace" in message) is not is_open
        grants = (await bed.role(guest)).grants | await bed.grants(guest, database=name)
        words = {grant.privilege for grant in grants}
        assert words == ({"CONNECT", "USAGE"} if is_open else set())
