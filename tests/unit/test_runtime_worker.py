"""One key's turn, counted in writes to the API server."""

import asyncio
import logging
from datetime import timedelta

import pytest

from pg_operator.api.conditions import Condition, Reason
from pg_operator.api.specs import FINALIZER
from pg_operator.kube.errors import TooManyRequests, Unreachable
from pg_operator.reconcilers.outcome import Event, Outcome
from tests.unit.runtime_bed import (
    Bed,
    a_cluster,
    a_database,
    a_role,
    an_object,
    changed,
    cluster_key,
    database_key,
    role_key,
)

DELETED_AT = "2026-11-24T12:00:00Z"
READY = Outcome(
    conditions=(Condition("Ready", "True", Reason.RECONCILED, "as declared"),),
    status={"oid": 16384},
    events=(Event("Normal", "DatabaseCreated", "Created database 'orders'"),),
)
ORDERS = database_key("orders")


@pytest.fixture
def bed() -> Bed:
    return Bed()


async def test_create_is_one_status_write_and_one_event(bed: Bed) -> None:
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = READY
    await bed.settle()
    assert bed.server.writes == [("status", ORDERS)]
    assert [event.reason for event in bed.events.posted] == ["DatabaseCreated"]
    assert bed.reconciled == [ORDERS]


async def test_restart_writes_nothing(bed: Bed) -> None:
    bed.store("DatabaseCluster", a_cluster())
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = READY
    await bed.settle()
    again = await bed.restart()
    assert again.server.writes == []
    assert set(again.reconciled) == {ORDERS, cluster_key()}


async def test_restart_begins_with_the_clusters(bed: Bed) -> None:
    for number in range(9):
        bed.store("Database", a_database(f"database-{number}"))
    bed.store("DatabaseCluster", a_cluster())
    again = await bed.restart()
    assert again.reconciled[0] == cluster_key()


async def test_echo_of_our_own_write_wakes_nobody(bed: Bed) -> None:
    key = bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = READY
    await bed.settle()
    bed.feed.event("Database", "MODIFIED", bed.server.objects[key])
    assert bed.backlog.queued == ()


async def test_role_that_creates_less_wakes_who_is_granted_all_there_will_be(
    bed: Bed,
) -> None:
    reader = a_role("reader")
    tables = [{"name": "*", "privileges": ["SELECT"]}]
    schemas = [{"name": "app", "tables": tables}]
    reader["spec"]["permissions"] = [{"database": "orders", "schemas": schemas}]
    bed.store("DatabaseRole", reader)
    writer = bed.store("DatabaseRole", a_role("writer", "stock"))
    await bed.settle()
    bed.reconciled.clear()
    bed.feed.creates_less(bed.server.objects[writer], closed={"orders"}, left=set())
    await bed.settle()
    assert bed.reconciled == [role_key("reader")]


async def test_own_write_wakes_who_waited_for_it(bed: Bed) -> None:
    bed.store("DatabaseRole", a_role("app", "orders"))
    bed.store("Database", a_database("orders"))
    await bed.settle()
    bed.reconciled.clear()
    bed.script[ORDERS] = READY
    bed.queue.add(ORDERS)
    await bed.settle()
    assert bed.reconciled == [ORDERS, role_key("app")]


async def test_who_waited_goes_ahead_of_those_whose_work_has_not_begun(
    bed: Bed,
) -> None:
    bed.store("DatabaseCluster", a_cluster())
    await bed.settle()
    first, *others = [
        bed.store("Database", a_database(name)) for name in ("orders", "bills", "mail")
    ]
    role = bed.store("DatabaseRole", a_role("clerk", "orders"))
    bed.reconciled.clear()
    bed.script[first] = READY
    await bed.settle()
    assert bed.reconciled == [first, role, *others]


async def test_after_an_outage_the_urgent_is_first_and_the_rest_goes_by_database(
    bed: Bed,
) -> None:
    bed.store("DatabaseCluster", a_cluster())
    orders, stock = (bed.store("Database", a_database(n)) for n in ("orders", "stock"))
    clerk, porter, urgent = (
        bed.store("DatabaseRole", a_role(name, database))
        for name, database in (
            ("clerk", "orders"),
            ("porter", "stock"),
            ("v", "orders"),
        )
    )
    await bed.settle()

    async def answer() -> Outcome:
        bed.queue.add(urgent, ahead=True)
        available = Condition("Available", "True", Reason.CONNECTED, "it answers")
        return Outcome(conditions=(available,))

    bed.script[cluster_key()] = answer
    bed.reconciled.clear()
    bed.queue.add(cluster_key())
    await bed.settle()
    assert bed.reconciled == [cluster_key(), urgent, orders, clerk, stock, porter]


async def test_missing_finalizer_is_written_before_anything_else(bed: Bed) -> None:
    bed.store("Database", a_database("orders", finalizers=["other"]))
    bed.script[ORDERS] = READY
    await bed.settle()
    assert bed.server.writes == [("finalizers", ORDERS), ("status", ORDERS)]
    stored = bed.server.objects[ORDERS]["metadata"]["finalizers"]
    assert stored == ["other", FINALIZER]


async def test_finalizer_is_written_to_the_object_as_it_is_by_then(bed: Bed) -> None:
    database = a_database("orders", finalizers=[])
    bed.store("Database", database)
    bed.server.between = [changed(database, finalizers=["other"], generation=2)]
    bed.script[ORDERS] = READY
    await bed.settle()
    stored = bed.server.objects[ORDERS]
    assert stored["metadata"]["finalizers"] == ["other", FINALIZER]
    assert stored["status"]["observedGeneration"] == 2


async def test_object_that_began_to_go_meanwhile_gets_no_finalizer(bed: Bed) -> None:
    database = a_database("orders", finalizers=["other"])
    bed.store("Database", database)
    bed.server.between = [changed(database, deletionTimestamp=DELETED_AT)]
    await bed.settle()
    assert bed.server.writes == []
    assert bed.reconciled == []


async def test_deleted_object_that_is_not_held_is_left_alone(bed: Bed) -> None:
    going = a_database("orders", finalizers=["other"], deletionTimestamp=DELETED_AT)
    bed.store("Database", going)
    await bed.settle()
    assert bed.reconciled == []
    assert bed.server.writes == []


async def test_release_removes_our_finalizer_only(bed: Bed) -> None:
    going = a_database(
        "orders", finalizers=["other", FINALIZER], deletionTimestamp=DELETED_AT
    )
    bed.store("Database", going)
    bed.script[ORDERS] = Outcome(release=True)
    await bed.settle()
    assert bed.server.writes == [("finalizers", ORDERS)]
    assert bed.server.objects[ORDERS]["metadata"]["finalizers"] == ["other"]


async def test_conflict_at_release_is_tried_again_at_once(bed: Bed) -> None:
    held = [FINALIZER, "first", "second"]
    going = a_database("orders", finalizers=held, deletionTimestamp=DELETED_AT)
    bed.store("Database", going)
    bed.server.between = [
        changed(changed(going), finalizers=held[:1]),
        changed(going, finalizers=held[:2]),
    ]
    bed.script[ORDERS] = Outcome(release=True)
    await bed.settle()
    assert bed.server.conflicts == 2
    assert bed.reconciled == [ORDERS]
    assert ORDERS not in bed.server.objects


async def test_endless_conflict_at_release_backs_off(bed: Bed) -> None:
    going = a_database("orders", deletionTimestamp=DELETED_AT)
    bed.store("Database", going)
    versions = [going]
    for number in range(9):
        held = [FINALIZER, str(number)]
        versions.append(changed(versions[-1], finalizers=held))
    bed.server.between = versions[:0:-1]
    bed.script[ORDERS] = Outcome(release=True)
    await bed.settle()
    assert bed.count("error") == 1
    assert bed.backlog.next_moment() == 1.0


async def test_object_gone_before_its_status_is_written_is_forgotten(bed: Bed) -> None:
    bed.store("Database", a_database("orders"))
    del bed.server.objects[ORDERS]
    bed.script[ORDERS] = READY
    await bed.settle()
    assert bed.cache.get(ORDERS) is None
    assert bed.backlog.next_moment() is None


async def test_status_of_a_predecessor_is_not_written_to_its_successor(
    bed: Bed,
) -> None:
    bed.store("Database", a_database("orders", uid="first"))
    successor = a_database("orders", uid="second", version=7)

    async def reconcile() -> Outcome:
        if bed.server.objects[ORDERS] is not successor:
            bed.store("Database", successor)
            return READY
        return Outcome()

    bed.script[ORDERS] = reconcile
    await bed.settle()
    assert bed.server.writes == []


async def test_generation_written_is_the_one_that_was_reconciled(bed: Bed) -> None:
    database = a_database("orders")
    bed.store("Database", database)

    async def reconcile() -> Outcome:
        if bed.server.objects[ORDERS] is database:
            bed.store("Database", changed(database, generation=2))
        return READY

    bed.script[ORDERS] = reconcile
    await bed.worker.work(bed.backlog.take() or ORDERS)
    assert bed.server.objects[ORDERS]["status"]["observedGeneration"] == 1
    await bed.settle()
    assert bed.server.objects[ORDERS]["status"]["observedGeneration"] == 2


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Unreachable("no answer")])
async def test_exception_backs_off_and_is_logged(
    bed: Bed, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = error
    with caplog.at_level(logging.WARNING):
        for delay in (1.0, 2.0, 4.0):
            await bed.settle()
            assert bed.backlog.next_moment() == bed.clock.time + delay
            bed.clock.time += delay
    assert bed.reconciled == [ORDERS] * 3
    assert len(caplog.records) == 3
    assert bed.count("error") == 3


async def test_api_server_that_asks_to_slow_down_is_given_the_time(bed: Bed) -> None:
    key = bed.store("Database", a_database("orders"))
    bed.script[key] = TooManyRequests("later", retry_after=40)
    await bed.settle()
    assert bed.backlog.next_moment() == bed.clock() + 40


async def test_success_ends_the_backoff(bed: Bed) -> None:
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = Outcome(retry=True)
    await bed.settle()
    bed.clock.time += 1
    await bed.settle()
    bed.clock.time += 2
    bed.script[ORDERS] = READY
    await bed.settle()
    assert bed.backlog.retry(ORDERS, now=bed.clock.time) == 1.0


async def test_quiet_object_is_looked_at_every_resync_interval(bed: Bed) -> None:
    cluster = a_cluster()
    cluster["spec"]["resyncInterval"] = "30s"
    bed.store("DatabaseCluster", cluster)
    bed.store("Database", a_database("orders"))
    await bed.settle()
    bed.reconciled.clear()
    bed.clock.time = 5.9
    await bed.settle()
    assert bed.reconciled == []
    bed.clock.time = 36
    await bed.settle()
    assert set(bed.reconciled) == {cluster_key(), ORDERS}


async def test_settled_object_is_left_alone_until_its_turn_within_the_interval(
    bed: Bed,
) -> None:
    bed.store("DatabaseCluster", a_cluster())
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = Outcome(is_settled=True)
    await bed.settle()
    assert bed.server.writes == []
    bed.reconciled.clear()
    bed.clock.time += 600
    await bed.settle()
    assert ORDERS in bed.reconciled


async def test_turn_of_a_settled_object_is_the_same_whoever_leads(bed: Bed) -> None:
    """Or leaders that follow one another sooner than it comes would never see it."""
    other = Bed()
    other.clock.time = 4321.0
    other.began -= timedelta(seconds=4321)
    moments = []
    for one in (bed, other):
        one.store("Database", a_database("orders"))
        one.script[ORDERS] = Outcome(is_settled=True)
        await one.settle()
        moments.append(one.backlog.next_moment())
    mine, others = moments
    assert mine is not None
    assert others == pytest.approx(4321 + mine)


async def test_outcome_may_ask_for_an_earlier_look(bed: Bed) -> None:
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = Outcome(requeue_after=timedelta(seconds=15))
    await bed.settle()
    assert bed.backlog.next_moment() == 15
    assert bed.count("requeue_after") == 1


async def test_look_that_was_asked_for_does_not_wait_for_resyncs(bed: Bed) -> None:
    spec = {"connection": {"name": "dsn"}, "resyncInterval": "5s"}
    bed.store("DatabaseCluster", an_object("main", spec))
    bills = bed.store("Database", a_database("bills"))
    bed.store("Database", a_database("orders"))
    bed.script[ORDERS] = Outcome(requeue_after=timedelta(seconds=15))
    await bed.settle()
    bed.clock.time = 6
    bed.backlog.promote(now=bed.clock())
    taken = {bed.backlog.take() for _ in range(3)}
    assert taken == {cluster_key(), bills, ORDERS}


async def test_gone_cluster_is_reconciled_once_more_and_then_rests(bed: Bed) -> None:
    bed.store("DatabaseCluster", a_cluster())
    await bed.settle()
    bed.clock.time = 1
    bed.feed.event("DatabaseCluster", "DELETED", changed(a_cluster()))
    await bed.settle()
    assert bed.reconciled == [cluster_key()] * 2
    assert bed.backlog.next_moment() is None


async def test_terminating_namespace_gets_no_events(bed: Bed) -> None:
    going = an_object("shop", deletionTimestamp=DELETED_AT)
    bed.feed.event("Namespace", "ADDED", going)
    bed.store("Database", a_database("orders", deletionTimestamp=DELETED_AT))
    dropped = Event("Normal", "DatabaseDropped", "Let go of database 'orders'")
    bed.script[ORDERS] = Outcome(release=True, events=(dropped,))
    await bed.settle()
    assert bed.events.posted == []
    assert ORDERS not in bed.server.objects


async def test_cancelled_turn_leaves_the_key_free(bed: Bed) -> None:
    bed.store("Database", a_database("orders"))

    async def reconcile() -> Outcome:
        await asyncio.Event().wait()
        return Outcome()

    bed.script[ORDERS] = reconcile
    key = bed.backlog.take()
    assert key is not None
    turn = asyncio.create_task(bed.worker.work(key))
    await asyncio.sleep(0)
    turn.cancel()
    await asyncio.wait({turn})
    assert turn.cancelled()
    assert bed.backlog.running == frozenset()
