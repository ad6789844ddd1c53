"""The unit of work that tests and the benchmark count in: one item a tenant orders."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.objects import (
    database,
    database_role,
    documents,
    password_secret,
)
from tests.localcluster.kubectl import Kubectl

SCHEMA = "app"
IN_DATABASE = ("CONNECT", "TEMPORARY")
IN_SCHEMA = ("CREATE", "USAGE")


@dataclass(frozen=True, slots=True)
class Item:
    """A database with one schema, and a login role that may read and write in it.

    The Secret, the Database and the DatabaseRole have the same name, and so have the
    database and the role on the server.
    """

    name: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)

    @property
    def postgres_name(self) -> str:
        """The name of the database and of the role on the server."""
        return self.name.replace("-", "_")

    def objects(self, cluster: str, **role: Any) -> tuple[dict[str, Any], ...]:
        """Return Secret, Database and DatabaseRole, whose spec has `role` as well."""
        permission = {
            "database": self.postgres_name,
            "privileges": list(IN_DATABASE),
            "schemas": [{"name": SCHEMA, "privileges": list(IN_SCHEMA)}],
        }
        return (
            password_secret(self.name, self.password),
            database(self.name, cluster, schema=SCHEMA, deletionPolicy="Delete"),
            database_role(
                self.name,
                cluster,
                password={"name": self.name},
                permissions=[permission],
                **role,
            ),
        )


def make_items(prefix: str, count: int) -> list[Item]:
    """Return items with passwords of their own, named `prefix`-0 and so on."""
    return [Item(f"{prefix}-{number}") for number in range(count)]


def create_items(kubectl: Kubectl, items: Sequence[Item], *, cluster: str) -> None:
    """Create all objects of items, one after the other."""
    objects = [obj for item in items for obj in item.objects(cluster)]
    kubectl.run("create", "--filename=-", input=documents(*objects), timeout=300)


def wait_ready(kubectl: Kubectl, *, timeout: int = 60) -> None:
    """Wait until every Database and DatabaseRole of the namespace is Ready."""
    for kind in ("databases", "databaseroles"):
        kubectl.wait(kind, "condition=Ready", "--all", timeout=timeout)


def delete_items(kubectl: Kubectl, *, timeout: int) -> None:
    """Delete every Database and DatabaseRole of the namespace, until they are gone."""
    kinds = "databaseroles,databases"
    options = ("--all", f"--timeout={timeout}s")
    kubectl.run("delete", kinds, *options, timeout=timeout + 30)
