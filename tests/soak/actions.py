"""What happens in a soak: people's work, drift by hand, and accidents."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any, Final

import psycopg

from tests.cluster.objects import administer, documents
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until
from tests.soak.model import MOST_DATABASES, MOST_ROLES, SCHEMA, Model

# An API server whose webhook is away refuses; whoever applies tries again.
PATIENCE: Final = 60.0
LONGEST_OUTAGE: Final = 4.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A bed with its DatabaseCluster, and the model that its objects follow."""

    bed: LocalCluster
    kubectl: Kubectl
    cluster: str
    model: Model

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


def kill_controller(scene: Scene) -> None:
    """Kill the controller, and start it again."""
    scene.bed.controller.kill()
    Event().wait(scene.model.chance.uniform(0, 1))
    scene.bed.controller.start()


def restart_controller(scene: Scene) -> None:
    """Have the controller end, and start it again."""
    scene.bed.controller.restart()


def freeze_controller(scene: Scene) -> None:
    """Stop the controller in the middle of whatever it does, for a while."""
    scene.bed.controller.freeze()
    Event().wait(scene.model.chance.uniform(0, LONGEST_OUTAGE))
    scene.bed.controller.thaw()


def kill_webhook(scene: Scene) -> None:
    """Kill the webhook, and start it again."""
    scene.bed.webhook.kill()
    Event().wait(scene.model.chance.uniform(0, 1))
    scene.bed.webhook.start()


def lose_server(scene: Scene) -> None:
    """Stop the server without grace, and start it again."""
    scene.bed.postgres.stop()
    Event().wait(scene.model.chance.uniform(0, LONGEST_OUTAGE))
    scene.bed.postgres.start()


def cut_sessions(scene: Scene) -> None:
    """End every session of the operator's on the server."""
    administer(
        scene.bed,
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'pgop_admin'",
    )


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
MISHAPS: Final[Mapping[Action, int]] = {
    lose_server: 2,
    cut_sessions: 2,
    freeze_controller: 1,
}
# After these a process is another one, whose growth cannot be told.
KILLS: Final[Mapping[Action, int]] = {
    kill_controller: 3,
    restart_controller: 1,
    kill_webhook: 1,
}


def actions(scene: Scene, *, with_kills: bool) -> Iterator[Action]:
    """Choose actions for ever."""
    weights = {**WORK, **MISHAPS, **(KILLS if with_kills else {})}
    while True:
        yield from scene.model.chance.choices(
            list(weights), weights=list(weights.values())
        )
