"""What shared catalogs say of hundreds of objects, for a look at each of them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final, Generic, TypeVar

from pg_operator.plan.state import DatabaseState, Dependencies, Mark, RoleState
from pg_operator.postgres.bounds import BOUNDS
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe_databases import observe_databases
from pg_operator.postgres.observe_dependencies import observe_dependencies
from pg_operator.postgres.observe_privileges import observe_database_holdings
from pg_operator.postgres.observe_roles import observe_roles, observe_verifiers
from pg_operator.reconcilers.servers import Link

AT_A_TIME: Final = 200
# Bytes. So many are held at a time that each must have a mark of usual length, and all
# its settings together no more: a mark of 64 KiB may come to 20 MB when it is open.
LONGEST_OF_MANY: Final = 4 * 1024
BOUNDS_OF_MANY: Final[Mapping[str, int]] = {
    **BOUNDS,
    "longest_comment": LONGEST_OF_MANY,
    "longest_settings": LONGEST_OF_MANY,
}
NO_DEPENDENCIES: Final = Dependencies(frozenset(), frozenset(), frozenset())

SharedRole = tuple[RoleState, Dependencies]
V = TypeVar("V")


class Survey:
    """Roles and databases of one server, read many at a time when one is asked for.

    Who is not among those that were named beforehand, or has no mark of usual length,
    is not known here. A role is known once: only its own object asks for it, and what
    thousands of roles hold is not kept for longer.
    """

    def __init__(
        self,
        link: Link,
        keyring: Keyring,
        *,
        roles: Iterable[str],
        databases: Iterable[str],
    ) -> None:
        self._link = link
        self._keyring = keyring
        self._roles = _Many(roles, self._read_roles)
        self._databases = _Many(databases, self._read_databases)

    def is_of(self, link: Link) -> bool:
        """Tell whether it is about that server."""
        return link.connections is self._link.connections

    async def role(self, link: Link, name: str) -> SharedRole | None:
        """Return a role, if it is known.

        Raises:
            PostgresError: the server does not answer, or refuses.
        """
        return await self._roles.pop(name) if self.is_of(link) else None

    async def databases(
        self, link: Link, names: Collection[str]
    ) -> dict[str, DatabaseState]:
        """Return those of the databases that are known.

        Raises:
            PostgresError: the server does not answer, or refuses.
        """
        if not self.is_of(link):
            return {}
        found = {name: await self._databases.get(name) for name in names}
        return {name: state for name, state in found.items() if state is not None}

    async def _read_roles(self, names: Collection[str]) -> dict[str, SharedRole]:
        roles = await observe_shared_roles(
            self._link, names, keyring=self._keyring, bounds=BOUNDS_OF_MANY
        )
        return {name: one for name, one in roles.items() if _is_marked(one[0])}

    async def _read_databases(self, names: Collection[str]) -> dict[str, DatabaseState]:
        async with self._link.connections.session() as connection:
            states = await observe_databases(
                connection,
                names,
                keyring=self._keyring,
                bounds=BOUNDS_OF_MANY,
            )
        return {name: state for name, state in states.items() if _is_marked(state)}


async def observe_shared_roles(
    link: Link,
    names: Collection[str],
    *,
    keyring: Keyring,
    bounds: Mapping[str, int] = BOUNDS,
) -> dict[str, SharedRole]:
    """Observe roles from outside: rows, marks, and where they are entangled."""
    async with link.connections.session() as connection:
        roles = await observe_roles(connection, names, keyring=keyring, bounds=bounds)
        if not any(role.exists for role in roles.values()):
            return {name: (role, NO_DEPENDENCIES) for name, role in roles.items()}
        holdings = await observe_database_holdings(connection, names)
        dependencies = await observe_dependencies(connection, names)
        if link.server.read_passwords:
            verifiers = await observe_verifiers(connection, names, keyring=keyring)
            roles = {
                name: replace(role, verifier=verifiers[name])
                for name, role in roles.items()
            }
    return {
        name: (replace(role, grants=holdings[name].grants), dependencies[name])
        for name, role in roles.items()
    }


class _Many(Generic[V]):
    """Values by name, of which the next so many are read with one."""

    def __init__(
        self,
        names: Iterable[str],
        read: Callable[[Collection[str]], Awaitable[dict[str, V]]],
    ) -> None:
        self._unread = dict.fromkeys(names)
        self._read = read
        self._seen: dict[str, V] = {}
        self._reading = asyncio.Lock()

    async def get(self, name: str) -> V | None:
        """Return the value of a name, if there is one."""
        await self._see(name)
        return self._seen.get(name)

    async def pop(self, name: str) -> V | None:
        """Return the value of a name, if there is one, and keep it no more."""
        await self._see(name)
        return self._seen.pop(name, None)

    async def _see(self, name: str) -> None:
        """Read the value of a name, and the next ones with it, unless that was done."""
        async with self._reading:
            if name in self._unread:
                del self._unread[name]
                names = [name, *islice(self._unread, AT_A_TIME - 1)]
                for other in names[1:]:
                    del self._unread[other]
                self._seen |= await self._read(names)


def _is_marked(state: RoleState | DatabaseState) -> bool:
    return isinstance(state.mark, Mark)
