"""What there will be once other objects are worked on, for a plan of several at once.

Nothing here is on the server yet. A reconcile looks at what is, and foresees nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pg_operator.plan.creators import Creators
from pg_operator.plan.diff import PUBLIC_SCHEMA
from pg_operator.plan.policies import is_same
from pg_operator.plan.state import (
    UNSET,
    Catalog,
    Claimant,
    DatabaseState,
    Mark,
    RoleState,
    Server,
)

_NAME = tuple[str, str]  # of a server, by its system identifier, and on it


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """A database as it will be, whether it is new, and its new schemas' creators."""

    state: DatabaseState
    is_new: bool
    creators: Mapping[str, Creators]


@dataclass(frozen=True, slots=True)
class Foresight:
    """Databases and roles as they will be, by server and name."""

    _databases: dict[_NAME, _Foreseen] = field(default_factory=dict)
    _roles: dict[_NAME, RoleState] = field(default_factory=dict)

    def add_database(
        self, server: Server, *, observed: DatabaseState, desired: DatabaseState
    ) -> None:
        """Take note of what will become of a database."""
        owner = desired.owner if desired.owner is not UNSET else observed.owner
        owner = server.login if owner is UNSET else owner
        known = observed.schemas if observed.exists else frozenset({PUBLIC_SCHEMA})
        owners = {
            **observed.schema_owners,
            **dict.fromkeys(desired.schemas - known, server.login),
            **desired.schema_owners,
        }
        opened = desired.allow_connections is True
        state = replace(
            observed,
            exists=True,
            owner=owner,
            allow_connections=True if opened else observed.allow_connections,
            schemas=known | desired.schemas,
            schema_owners=owners,
            mark=desired.mark,
        )
        creators = {
            schema: Creators(database_owner=owner, schema_owner=owners[schema])
            for schema in desired.schemas - known
        }
        place = server.system_identifier, desired.name
        self._databases[place] = _Foreseen(state, not observed.exists, creators)

    def add_role(self, server: Server, *, observed: RoleState, mark: Mark) -> None:
        """Take note that there will be a role, and whose."""
        state = replace(observed, exists=True, mark=mark)
        if not observed.exists:
            state = replace(state, superuser=False, oid=UNSET)
        self._roles[server.system_identifier, observed.name] = state

    def database(self, server: Server, state: DatabaseState) -> DatabaseState:
        """Return a database that was looked at as it will be."""
        found = self._databases.get((server.system_identifier, state.name))
        return state if found is None else found.state

    def role(self, server: Server, state: RoleState) -> RoleState:
        """Return a role that was looked at as it will be."""
        return self._roles.get((server.system_identifier, state.name), state)

    def rivals(
        self, server: Server, state: DatabaseState | RoleState, claimant: Claimant
    ) -> DatabaseState | RoleState:
        """Return what an object finds under a name if another one comes before it."""
        found = (
            self.database(server, state)
            if isinstance(state, DatabaseState)
            else self.role(server, state)
        )
        mark = found.mark
        is_rivals = isinstance(mark, Mark) and not is_same(mark.claimant, claimant)
        return found if is_rivals else state

    def is_new(self, server: Server, database: str) -> bool:
        """Tell whether a database will be there, and nobody can look inside now."""
        found = self._databases.get((server.system_identifier, database))
        return found is not None and found.is_new

    def catalog(self, server: Server, catalog: Catalog) -> Catalog:
        """Return what there will be inside a database."""
        found = self._databases.get((server.system_identifier, catalog.database))
        if found is None:
            return catalog
        return replace(
            catalog,
            schemas=catalog.schemas | found.state.schemas,
            schema_owners={**catalog.schema_owners, **found.state.schema_owners},
        )

    def creators(self, server: Server, database: str) -> Mapping[str, Creators]:
        """Return who will create objects in the schemas that a database will get."""
        found = self._databases.get((server.system_identifier, database))
        return {} if found is None else found.creators
