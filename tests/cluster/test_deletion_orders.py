"""Deletion in every order, with the server and the DSN there and away."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

THINGS: Final = {
    "role": "DatabaseRole",
    "database": "Database",
    "cluster": "DatabaseCluster",
    "secrets": "Secret",
    "namespace": "Namespace",
}
PAIRS: Final = tuple(itertools.permutations(THINGS, 2))
FULL: Final = (
    ("namespace", "role", "database", "cluster", "secrets"),
    ("cluster", "database", "role", "secrets", "namespace"),
    ("secrets", "role", "database", "cluster", "namespace"),
)
OUR_KINDS: Final = "databaseclusters,databases,databaseroles"
IDENTITY: Final = ("apiVersion", "kind", "metadata")
RELEASE: Final = "pg-operator.dev/release=true"
DATABASES_AND_ROLES: Final = (
    "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles"
)
PATIENCE: Final = 90

Object = dict[str, Any]
Name = tuple[str, str]
"""Kind and name of an object; no two scenes share a name."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A namespace with databases and roles on a DatabaseCluster of its own.

    `order` is what is deleted of it. What an outage keeps waiting is `let_go` by the
    annotation, or else goes when the outage ends.
    """

    name: str
    order: Sequence[str]
    let_go: bool

    @property
    def policies(self) -> dict[Name, str | None]:
        """The Databases and DatabaseRoles, with their deletionPolicy."""
        return {
            ("Database", f"{self.name}-kept"): "Retain",
            ("Database", f"{self.name}-dropped"): "Delete",
            ("DatabaseRole", f"{self.name}-keeper"): "Retain",
            ("DatabaseRole", f"{self.name}-leaver"): "Delete",
            ("DatabaseRole", f"{self.name}-plain"): None,
        }

    @property
    def deleted(self) -> dict[Name, str | None]:
        """Those that the order deletes."""
        return {
            (kind, name): policy
            for (kind, name), policy in self.policies.items()
            if "namespace" in self.order
            or kind in {THINGS[thing] for thing in self.order}
        }

    def objects(self, dsn: str) -> list[Object]:
        """Everything there is of it, in the order of creation."""
        v1, name = {"apiVersion": "v1"}, {"name": self.name}
        return [
            {**v1, "kind": "Namespace", "metadata": name},
            dsn_secret(self.name, dsn),
            self._inside(password_secret("login", "secret")),
            database_cluster(self.name),
            *(self._inside(self._declared(*item)) for item in self.policies.items()),
        ]

    def members(self, thing: str) -> list[Object]:
        """What one word of an order stands for."""
        return [obj for obj in self.objects("") if obj["kind"] == THINGS[thing]]

    def _declared(self, name: Name, policy: str | None) -> Object:
        spec: Object = {} if policy is None else {"deletionPolicy": policy}
        if name[0] == "Database":
            service = f"pg-{name[1].rpartition('-')[2]}"
            return database(name[1], self.name, databaseServiceName=service, **spec)
        permissions = [
            {"database": _on_server(database), "privileges": ["CONNECT"]}
            for kind, database in self.policies
            if kind == "Database"
        ]
        spec |= {"password": {"name": "login"}, "permissions": permissions}
        return database_role(name[1], self.name, **spec)

    def _inside(self, obj: Object) -> Object:
        return {**obj, "metadata": {**obj["metadata"], "namespace": self.name}}


@dataclass(frozen=True, slots=True)
class Stage:
    """The bed, and what these tests do on it with whole scenes."""

    cluster: LocalCluster
    prefix: str
    scenes: tuple[Scene, ...]

    @property
    def kubectl(self) -> Kubectl:
        """The administrator's kubectl."""
        return self.cluster.kubectl

    def create(self) -> None:
        """Create every object of every scene and wait until all are Ready."""
        dsn = self.cluster.postgres.admin_dsn
        wanted = [obj for scene in self.scenes for obj in scene.objects(dsn)]
        self.kubectl.apply(documents(*wanted))
        self.await_none(
            lambda found: [obj for obj in found.values() if not _is_ready(obj)]
        )

    def create_dsn_secrets(self) -> None:
        """Create the DSN Secrets that are gone."""
        dsn = self.cluster.postgres.admin_dsn
        secrets = [dsn_secret(scene.name, dsn) for scene in self.scenes]
        self.kubectl.apply(documents(*secrets))

    def delete(self, objects: Iterable[Object]) -> None:
        """Begin to delete objects in their order, without waiting for any."""
        bare = [{part: obj[part] for part in IDENTITY} for obj in objects]
        options = ("--wait=false", "--ignore-not-found", "--filename=-")
        self.kubectl.run("delete", *options, input=documents(*bare))

    def let_go(self, found: Iterable[Object]) -> None:
        """Annotate objects so that they go whatever the server says."""
        for obj in found:
            place = f"--namespace={obj['metadata']['namespace']}"
            target = f"{obj['kind'].lower()}/{obj['metadata']['name']}"
            self.kubectl.run("annotate", place, target, RELEASE)

    def found(self) -> dict[Name, Object]:
        """Our objects that exist."""
        answer = self.kubectl.run("get", OUR_KINDS, "--all-namespaces", "--output=json")
        return {
            (obj["kind"], obj["metadata"]["name"]): obj
            for obj in json.loads(answer)["items"]
            if obj["metadata"]["name"].startswith(self.prefix)
        }

    def await_none(self, wrong: Callable[[dict[Name, Object]], list[Any]]) -> None:
        """Wait until nothing is wrong with our objects that exist."""
        wait_until(lambda: not wrong(self.found()), timeout=PATIENCE)
        assert wrong(self.found()) == []

    def namespaces(self) -> list[str]:
        """The scenes' namespaces that exist."""
        names = self.kubectl.run("get", "namespaces", "--output=name").split()
        return [name for name in names if name.startswith(f"namespace/{self.prefix}-")]

    def on_server(self) -> set[str]:
        """The databases and roles of the scenes that exist."""
        rows = administer(self.cluster, "postgres", DATABASES_AND_ROLES)
        return {name for (name,) in rows if name.startswith(self.prefix)}

    def clear(self) -> None:
        """Remove whatever is left, on the server too."""
        found = self.found().values()
        self.let_go(obj for obj in found if "namespace" in obj["metadata"])
        self.delete(obj for scene in self.scenes for obj in scene.objects(""))
        self.await_none(list)
        drops = [
            f"DROP {kind.removeprefix('Database') or 'Database'} IF EXISTS"
            f' "{_on_server(name)}"'
            for scene in self.scenes
            for kind, name in scene.policies
        ]
        administer(self.cluster, "postgres", *drops)


@pytest.fixture(
    params=[
        pytest.param(
            [(order, let_go) for order in FULL for let_go in (False, True)],
            id="everything",
        ),
        pytest.param(
            [(order, False) for order in PAIRS],
            id="pairs",
            marks=[pytest.mark.slow, pytest.mark.timeout(300)],
        ),
    ]
)
def stage(
    request: pytest.FixtureRequest, cluster: LocalCluster, namespace: str
) -> Iterator[Stage]:
    """An empty stage with one scene an order; nothing of it is left."""
    scenes = tuple(
        Scene(f"{namespace}-{number:02}", order, let_go)
        for number, (order, let_go) in enumerate(request.param)
    )
    stage = Stage(cluster, namespace, scenes)
    yield stage
    stage.clear()


@contextmanager
def outage(cluster: LocalCluster) -> Iterator[None]:
    """Stop the server for as long as the block runs."""
    cluster.postgres.stop()
    try:
        yield
    finally:
        cluster.postgres.start()


@pytest.mark.parametrize("is_up", [True, False], ids=["server-up", "server-down"])
def test_deletion_ends_well_in_every_order(stage: Stage, *, is_up: bool) -> None:
    stage.create()

    with nullcontext() if is_up else outage(stage.cluster):
        begin_deletions(stage)
        stage.await_none(lambda found: unsettled(stage.scenes, found, is_up=is_up))
        waiting = stage.found()
        left = [name for s in stage.scenes if s.let_go for name in s.deleted]
        left = [name for name in left if name in waiting]
        stage.let_go(waiting[name] for name in left)
        stage.await_none(lambda found: [name for name in left if name in found])
        must_leave = any(scene.let_go for scene in stage.scenes) and not is_up
        assert left or not must_leave

    stage.create_dsn_secrets()
    deleted = [name for scene in stage.scenes for name in scene.deleted]
    stage.await_none(lambda found: [name for name in deleted if name in found])
    assert stage.on_server() == {
        _on_server(name)
        for scene in stage.scenes
        for (kind, name), policy in scene.policies.items()
        if policy == "Retain"
        or (kind, name) in left
        or (kind, name) not in scene.deleted
    }

    ends = [scene.members(thing) for scene in stage.scenes for thing in FULL[0][::3]]
    stage.delete(itertools.chain(*ends))
    stage.await_none(list)
    assert wait_until(lambda: not stage.namespaces(), timeout=PATIENCE)
    assert stage.on_server() == {
        _on_server(name)
        for scene in stage.scenes
        for (kind, name), policy in scene.policies.items()
        if policy == "Retain" or (kind, name) in left
    }


def begin_deletions(stage: Stage) -> None:
    """Delete what the orders say, one thing right after the other.

    Only where the Secrets are first, the operator is given time to notice.
    """
    early = [scene for scene in stage.scenes if scene.order[0] == "secrets"]
    stage.delete(obj for scene in early for obj in scene.members("secrets"))
    blind = [("DatabaseCluster", scene.name) for scene in early]
    stage.await_none(
        lambda found: [name for name in blind if not _lacks_its_secret(found[name])]
    )
    stage.delete(
        obj
        for scene in stage.scenes
        for thing in scene.order
        for obj in scene.members(thing)
    )


def unsettled(
    scenes: Iterable[Scene], found: dict[Name, Object], *, is_up: bool
) -> list[object]:
    """List the deleted objects that are neither gone nor waiting, as they should be."""
    wrong: list[object] = []
    for scene in scenes:
        may_wait = not is_up or "secrets" in scene.order
        must_wait = not is_up or scene.order[0] == "secrets"
        for name, policy in scene.deleted.items():
            obj = found.get(name)
            drops = policy != "Retain"
            if obj is None and drops and must_wait:
                wrong.append((scene.order, name, "is gone, and the server was away"))
            if obj is not None and not (drops and may_wait and _is_blocked(obj)):
                wrong.append((scene.order, obj))
    return wrong


def _on_server(name: str) -> str:
    return name.replace("-", "_")


def _condition(obj: Object, kind: str) -> dict[str, str]:
    conditions = obj.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def _is_ready(obj: Object) -> bool:
    return _condition(obj, "Ready").get("status") == "True"


def _is_blocked(obj: Object) -> bool:
    ready = _condition(obj, "Ready")
    return (ready.get("status"), ready.get("reason")) == ("False", "DeletionBlocked")


def _lacks_its_secret(cluster: Object) -> bool:
    return _condition(cluster, "Available").get("reason") == "SecretNotFound"
