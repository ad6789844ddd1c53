"""What privileges are held on, and sets of them. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pg_operator.api.privileges import ObjectKind


class Securable(NamedTuple):
    """An object that privileges are granted on.

    `name` is that of the object in its schema, or the wildcard `*`; for a column it is
    the table's, for a function its signature. With a `creator`, `*` is what that role
    will create (ALTER DEFAULT PRIVILEGES), in all schemas if it has none; else it may
    leave some out, `without`.
    """

    kind: ObjectKind
    database: str
    schema: str = ""
    name: str = ""
    column: str = ""
    creator: str = ""
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.creator:
            where = f"schema {self.database}.{self.schema}"
            place = where if self.schema else f"database {self.database}"
            return f"future {self.kind}s of role {self.creator} in {place}"
        parts = (self.database, self.schema, self.name, self.column)
        return ".".join(part for part in parts if part)


class Grant(NamedTuple):
    """One privilege word on one object. A set of these is a role's grants.

    A `grantable` one is the right to pass it on, which comes beside the privilege
    itself.
    """

    on: Securable
    privilege: str
    grantable: bool = False

    def __str__(self) -> str:
        option = " WITH GRANT OPTION" if self.grantable else ""
        return f"{self.privilege}{option}"


Grants = frozenset[Grant]

NO_FUNCTIONS: Final[Mapping[Securable, Securable]] = MappingProxyType({})
