"""What the bench orders: a database with a schema, and roles that log in to it."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.items import IN_DATABASE, IN_SCHEMA, SCHEMA
from tests.cluster.objects import database, database_role, password_secret


@dataclass(frozen=True, slots=True)
class Login:
    """A role that logs in by a password; its Secret has its name, too."""

    name: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)

    @property
    def role_name(self) -> str:
        """The name of the role on the server."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Order:
    """A database with one schema, and logins that may read and write in it.

    It is for the DatabaseCluster of the client that creates it unless it has its own.
    The Database is left out where `has_database` says that it is there.
    """

    name: str
    logins: Sequence[Login]
    cluster: str = ""
    has_database: bool = False

    @property
    def database_name(self) -> str:
        """The name of the database on the server."""
        return self.name.replace("-", "_")

    def objects(self, cluster: str) -> tuple[dict[str, Any], ...]:
        """Return its objects, in an order in which people apply them."""
        return tuple(self._objects(self.cluster or cluster))

    def _objects(self, cluster: str) -> Iterator[dict[str, Any]]:
        for login in self.logins:
            yield password_secret(login.name, login.password)
        if not self.has_database:
            spec = {"schema": SCHEMA, "deletionPolicy": "Delete"}
            yield database(self.name, cluster, **spec)
        permission = {
            "database": self.database_name,
            "privileges": list(IN_DATABASE),
            "schemas": [{"name": SCHEMA, "privileges": list(IN_SCHEMA)}],
        }
        for login in self.logins:
            yield database_role(
                login.name,
                cluster,
                password={"name": login.name},
                permissions=[permission],
            )


def make_orders(
    prefix: str, count: int, *, logins: int, cluster: str = ""
) -> list[Order]:
    """Return orders named `prefix`-0 and so on, with that many logins each."""
    return [
        Order(
            f"{prefix}-{number}",
            [Login(f"{prefix}-{number}-{login}") for login in range(logins)],
            cluster,
        )
        for number in range(count)
    ]
