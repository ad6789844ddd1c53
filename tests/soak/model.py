"""What there should be: the objects as last applied, and so the server. Pure."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.cluster.objects import database, database_role, password_secret

ON_DATABASE: Final = ("CONNECT", "CREATE", "TEMPORARY")
ON_SCHEMA: Final = ("CREATE", "USAGE")
SCHEMA: Final = "app"
MOST_DATABASES: Final = 8
MOST_ROLES: Final = 20


@dataclass(slots=True)
class Role:
    """A DatabaseRole with a password and privileges in one database."""

    name: str
    database: str
    on_database: frozenset[str]
    on_schema: frozenset[str]
    password: str = field(repr=False)

    def objects(self, cluster: str) -> list[dict[str, Any]]:
        """Return its Secret and itself, as they are to be applied."""
        schema = {"name": SCHEMA, "privileges": sorted(self.on_schema)}
        permission = {
            "database": self.database,
            "privileges": sorted(self.on_database),
            "schemas": [schema] if self.on_schema else [],
        }
        password = {"name": self.name}
        role = database_role(
            self.name,
            cluster,
            login=True,
            password=password,
            permissions=[permission],
            deletionPolicy="Delete",
        )
        return [password_secret(self.name, self.password), role]


@dataclass(slots=True)
class Model:
    """Databases by name, with their connection limits, and roles by name.

    Every choice comes from `chance`, and names are never used again.
    """

    chance: random.Random
    databases: dict[str, int] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def new_database(self) -> str:
        """Add a database."""
        name = f"d{next(self._numbers)}"
        self.databases[name] = -1
        return name

    def new_role(self, database: str) -> Role:
        """Add a role with some privileges in a database."""
        name = f"r{next(self._numbers)}"
        role = Role(name, database, frozenset(), frozenset(), self._password())
        self.roles[name] = role
        self.regrant(role)
        return role

    def regrant(self, role: Role) -> None:
        """Give a role other privileges; it may always connect."""
        some = self._some(ON_DATABASE)
        role.on_database = some | {"CONNECT"}
        role.on_schema = self._some(ON_SCHEMA)

    def repassword(self, role: Role) -> None:
        """Give a role another password."""
        role.password = self._password()

    def limit(self, database: str) -> None:
        """Give a database another connection limit, which is far away."""
        self.databases[database] = self.chance.randint(50, 99)

    def drop_database(self, name: str) -> list[Role]:
        """Remove a database and the roles with permissions in it; return these."""
        del self.databases[name]
        roles = [role for role in self.roles.values() if role.database == name]
        for role in roles:
            del self.roles[role.name]
        return roles

    def a_database(self) -> str:
        """Choose one of the databases."""
        return self.chance.choice(list(self.databases))

    def a_role(self) -> Role:
        """Choose one of the roles."""
        return self.chance.choice(list(self.roles.values()))

    def documents(self, cluster: str) -> list[dict[str, Any]]:
        """Return all objects as they are to be applied."""
        databases = [self.document(name, cluster) for name in self.databases]
        roles = [obj for role in self.roles.values() for obj in role.objects(cluster)]
        return databases + roles

    def document(self, name: str, cluster: str) -> dict[str, Any]:
        """Return the Database of a name as it is to be applied."""
        limit = self.databases[name]
        more = {} if limit < 0 else {"connectionLimit": limit}
        spec = {"schema": SCHEMA, "deletionPolicy": "Delete", **more}
        return database(name, cluster, **spec)

    def _some(self, words: tuple[str, ...]) -> frozenset[str]:
        return frozenset(word for word in words if self.chance.random() < 0.5)

    def _password(self) -> str:
        return f"pa55word-{self.chance.getrandbits(64):016x}"
