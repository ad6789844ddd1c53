"""What people do in a soak: their work, and drift by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from tests.cluster.objects import administer, documents
from tests.localcluster.api_proxy import Front
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.faults import Wire
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.operator import OperatorProcess
from tests.localcluster.probes import wait_until
from tests.soak.model import MOST_DATABASES, MOST_ROLES, SCHEMA, Model

# An API server whose webhook is away refuses; whoever applies tries again.
PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the controllers of an election, and how it reaches the API server."""

    name: str
    process: OperatorProcess
    front: Front


@dataclass(frozen=True, slots=True)
class Scene:
    """A bed with its DatabaseCluster, and the model that its objects follow.

    All candidates reach PostgreSQL by `wire`, whoever leads.
    """

    bed: LocalCluster
    kubectl: Kubectl
    cluster: str
    model: Model
    candidates: Sequence[Candidate]
    wire: Wire

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects, until that is let pass."""
        text = documents(*objects)

        def applied() -> bool:
            return self.kubectl("apply", "-f-", input=text).returncode == 0

        assert wait_until(applied, timeout=PATIENCE), "nothing can be applied"

    def delete(self, *targets: str) -> None:
        """Delete objects, without waiting until they are gone."""
        self.kubectl.run("delete", "--wait=false", "--ignore-not-found", *targets)


def create_database(scene: Scene) -> None:
    """Order a database, unless there are enough."""
    if len(scene.model.databases) < MOST_DATABASES:
        name = scene.model.new_database()
        scene.apply(scene.model.document(name, scene.cluster))


def create_role(scene: Scene) -> None:
    """Order a role in some database, unless there are enough."""
    model = scene.model
    if model.databases and len(model.roles) < MOST_ROLES:
        role = model.new_role(model.a_database())
        scene.apply(*role.objects(scene.cluster))


def create_both(scene: Scene) -> None:
    """Order a database and a role in it, the role first."""
    model = scene.model
    if len(model.databases) < MOST_DATABASES and len(model.roles) < MOST_ROLES:
        name = model.new_database()
        role = model.new_role(name)
        document = model.document(name, scene.cluster)
        scene.apply(*role.objects(scene.cluster), document)


def change_role(scene: Scene) -> None:
    """Give a role other privileges, or another password."""
    if not scene.model.roles:
        return
    role = scene.model.a_role()
    change = scene.model.chance.choice((scene.model.regrant, scene.model.repassword))
    change(role)
    scene.apply(*role.objects(scene.cluster))


def change_database(scene: Scene) -> None:
    """Give a database another connection limit."""
    if scene.model.databases:
        name = scene.model.a_database()
        scene.model.limit(name)
        scene.apply(scene.model.document(name, scene.cluster))


def delete_role(scene: Scene) -> None:
    """Delete a role, and then its Secret."""
    if scene.model.roles:
        role = scene.model.a_role()
        del scene.model.roles[role.name]
        scene.delete(f"databaserole/{role.name}", f"secret/{role.name}")


def delete_database(scene: Scene) -> None:
    """Delete a database with its roles, in an order that nobody chose."""
    if scene.model.databases:
        name = scene.model.a_database()
        roles = scene.model.drop_database(name)
        gone = [f"databaserole/{role.name}" for role in roles]
        gone += [f"secret/{role.name}" for role in roles]
        targets = [f"database/{name}", *gone]
        scene.model.chance.shuffle(targets)
        scene.delete(*targets)


def drift(scene: Scene) -> None:
    """Change something by hand on the server."""
    model = scene.model
    if not model.roles:
        return
    role = model.a_role()
    place, statements = model.chance.choice(
        (
            ("postgres", [f"ALTER ROLE {role.name} NOLOGIN"]),
            ("postgres", [f"GRANT TEMPORARY ON DATABASE {role.database} TO PUBLIC"]),
            ("postgres", [f"REVOKE ALL ON DATABASE {role.database} FROM {role.name}"]),
            (role.database, [f"DROP SCHEMA {SCHEMA} CASCADE"]),
            (role.database, [f"REVOKE ALL ON SCHEMA {SCHEMA} FROM {role.name}"]),
        )
    )
    try:
        administer(scene.bed, place, "SET ROLE pgop_admin", *statements)
    except psycopg.Error:
        return  # it is not there yet


Action = Callable[[Scene], None]
WORK: Final[Mapping[Action, int]] = {
    create_database: 3,
    create_role: 8,
    create_both: 4,
    change_role: 8,
    change_database: 3,
    delete_role: 5,
    delete_database: 2,
    drift: 6,
}


def work(scene: Scene, count: int) -> None:
    """Do so many things that somebody might."""
    chance = scene.model.chance
    for action in chance.choices(list(WORK), weights=list(WORK.values()), k=count):
        action(scene)
