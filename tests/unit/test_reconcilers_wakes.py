"""When a server returns, what is urgent goes first."""

from pg_operator.api.conditions import Reason
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reconcile import wake_objects
from pg_operator.runtime.cache import Cache
from tests.unit.runtime_bed import a_database, a_role, database_key, role_key


def test_passwords_come_first_then_deletions_then_the_rest() -> None:
    cache = Cache()
    conditions = [{"type": "Ready", "status": "False"}]
    pending = [{**conditions[0], "reason": Reason.PASSWORD_PENDING}]
    cache.put("Database", a_database("kept"))
    cache.put("Database", a_database("going", deletionTimestamp="now"))
    cache.put("DatabaseRole", a_role("waiting", status={"conditions": conditions}))
    cache.put("DatabaseRole", a_role("changed", status={"conditions": pending}))
    cache.put("DatabaseRole", a_role("elsewhere", cluster="other"))
    woken: list[tuple[Key, bool]] = []

    def wake(key: Key, /, *, ahead: bool = False, outside: bool = False) -> None:
        assert not outside
        woken.append((key, ahead))

    wake_objects(cache, "main", wake=wake)
    urgent = [key for key, ahead in woken if ahead]
    assert urgent == [role_key("changed"), database_key("going")]
    rest = {key for key, ahead in woken if not ahead} - {*urgent}
    assert rest == {database_key("kept"), role_key("waiting")}
