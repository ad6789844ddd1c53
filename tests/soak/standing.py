"""How the server and the objects stand, beside the model."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import psycopg

from tests.bench.client import is_ready
from tests.cluster.objects import administer, login
from tests.localcluster.cluster import LocalCluster
from tests.soak.actions import Scene
from tests.soak.model import SCHEMA, Role

KINDS: Final = ("databases", "databaseroles")


def differences(scene: Scene) -> list[str]:
    """Say where objects, server and model do not agree."""
    return [*_objects(scene), *(_server(scene) or _insides(scene))]


def _objects(scene: Scene) -> Iterator[str]:
    wanted = {
        "databases": set(scene.model.databases),
        "databaseroles": set(scene.model.roles),
    }
    for kind in KINDS:
        found = {
            obj["metadata"]["name"]: obj for obj in scene.kubectl.get(kind)["items"]
        }
        yield from _sets(f"{kind} in Kubernetes", wanted[kind], set(found))
        yield from (
            f"{kind} {name} is not Ready" for name in found if not _settled(found[name])
        )


def _settled(obj: Mapping[str, Any]) -> bool:
    observed = obj.get("status", {}).get("observedGeneration")
    return is_ready(obj) and bool(observed == obj["metadata"]["generation"])


def _server(scene: Scene) -> list[str]:
    databases = dict(
        administer(
            scene.bed,
            "postgres",
            "SELECT datname, datconnlimit FROM pg_database"
            " WHERE datname ~ '^d[0-9]+$' AND datallowconn",
        )
    )
    roles = administer(
        scene.bed,
        "postgres",
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^r[0-9]+$'",
    )
    return [
        *_sets("databases on the server", set(scene.model.databases), set(databases)),
        *_sets(
            "roles on the server", set(scene.model.roles), {name for (name,) in roles}
        ),
        *(
            f"database {name} has connection limit {limit}"
            for name, limit in databases.items()
            if scene.model.databases.get(name, limit) != limit
        ),
    ]


def _insides(scene: Scene) -> Iterator[str]:
    for role in scene.model.roles.values():
        if not _logs_in(scene.bed, role):
            yield f"role {role.name} cannot log in"
        held = _held(scene.bed, role)
        wanted = tuple(tuple(sorted(w)) for w in (role.on_database, role.on_schema))
        if held != wanted:
            yield f"role {role.name} holds {held}, not {wanted}"
    for name in scene.model.databases:
        public = administer(
            scene.bed,
            "postgres",
            "SELECT privilege_type FROM pg_database, aclexplode(datacl)"
            f" WHERE datname = '{name}' AND grantee = 0",
        )
        if public:
            yield f"everybody holds {public} on database {name}"


def _logs_in(bed: LocalCluster, role: Role) -> bool:
    try:
        login(bed, user=role.name, password=role.password, dbname=role.database).close()
    except psycopg.OperationalError:
        return False
    return True


def _held(bed: LocalCluster, role: Role) -> tuple[tuple[str, ...], ...]:
    """Return what a role itself holds on its database and on the schema there."""
    words = (
        "ARRAY(SELECT privilege_type FROM {catalog}, aclexplode({acl})"
        " WHERE {condition} AND grantee = '{role}'::regrole ORDER BY 1)"
    )
    fill = partial(words.format, role=role.name)
    on_database = fill(
        catalog="pg_database", acl="datacl", condition="datname = current_database()"
    )
    on_schema = fill(
        catalog="pg_namespace", acl="nspacl", condition=f"nspname = '{SCHEMA}'"
    )
    query = f"SELECT {on_database}, {on_schema}"
    ((database, schema),) = administer(bed, role.database, query)
    return tuple(database), tuple(schema)


def _sets(what: str, wanted: set[str], found: set[str]) -> Iterator[str]:
    if missing := sorted(wanted - found):
        yield f"{what}: missing {missing}"
    if surplus := sorted(found - wanted):
        yield f"{what}: too many {surplus}"
