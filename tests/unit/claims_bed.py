"""Objects as the webhook's index holds them, and what is said of a new one."""

from typing import Any

from pg_operator.api.errors import Verdict
from pg_operator.api.specs import Kind
from pg_operator.runtime.cache import Cache
from tests.unit.runtime_bed import a_cluster, a_database
from webhooks.claims import judge_claims

Json = dict[str, Any]
SERVER = {"systemIdentifier": "7", "startedAt": "2026-11-01T00:00:00Z"}


def status(ready: str = "Reconciled", **more: Any) -> Json:
    """The status of an object that is as declared, or not."""
    word = "True" if ready == "Reconciled" else "False"
    conditions = [{"type": "Ready", "status": word, "reason": ready}]
    return {"observedGeneration": 1, "conditions": conditions, "oid": 1, **more}


def serving(available: str = "True", **server: Any) -> Json:
    """The status of a DatabaseCluster."""
    conditions = [{"type": "Available", "status": available}]
    return {"conditions": conditions, "server": {**SERVER, **server}}


MAIN = a_cluster(status=serving())
# Of namespace "shop", as everything is that says nothing else.
MINE = a_database("orders")
OWNED = a_database("orders", namespace="bank", status=status())


def stored(*objects: Json) -> Cache:
    """Store objects as watches would."""
    cache = Cache()
    for obj in objects:
        spec = obj["spec"]
        kind: Kind = "DatabaseCluster" if "connection" in spec else "Database"
        cache.put("DatabaseRole" if "roleName" in spec else kind, obj)
    return cache


def judged(new: Json, *objects: Json, old: Json | None = None) -> Verdict:
    kind: Kind = "DatabaseRole" if "roleName" in new["spec"] else "Database"
    return judge_claims(kind, new, old=old, objects=stored(*objects))
