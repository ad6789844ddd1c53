"""What an existing server holds, as far as objects could say it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pg_operator.plan.creators import Creators
from pg_operator.plan.grants import Grants, Securable
from pg_operator.plan.state import DatabaseState, RoleState, Server

_NO_CREATORS: Final[Mapping[str, Creators]] = MappingProxyType({})
_NO_WORDS: Final[Mapping[str, bool]] = MappingProxyType({})
_NO_GRANTS: Final[Mapping[str, Grants]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DatabaseInventory:
    """A database, from inside where it could be entered.

    `objects` are all that can be granted on in its schemas. `creators` of its schemas
    are those that will count while a Database declares none. `trusted` has its
    extensions that are available. `is_alterable` tells whether the login could alter
    it now, and `refused` why it could not be looked into. `unsaid` describes what no
    object can say.
    """

    state: DatabaseState
    objects: frozenset[Securable] = frozenset()
    creators: Mapping[str, Creators] = field(default_factory=lambda: _NO_CREATORS)
    trusted: Mapping[str, bool] = field(default_factory=lambda: _NO_WORDS)
    is_alterable: bool = True
    refused: str = ""
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleInventory:
    """A role, with all that it holds in the databases that were looked into.

    `owned` is what of that it holds as the owner; `by_others` what roles granted that
    do not own it. The rest is as for a database.
    """

    state: RoleState
    owned: frozenset[Securable] = frozenset()
    by_others: Mapping[str, Grants] = field(default_factory=lambda: _NO_GRANTS)
    is_alterable: bool = True
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """A server with its databases and roles, without those of PostgreSQL's own.

    `maintenance_database` is the DSN's, `logins` the role that it names and the one
    that its sessions are; `contexts` are those of the parameters that are set, and
    `shared_settings` name those that are set for all roles in all databases.
    """

    server: Server
    maintenance_database: str
    logins: frozenset[str]
    databases: tuple[DatabaseInventory, ...] = ()
    roles: tuple[RoleInventory, ...] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    shared_settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choices:
    """What to export, and what the objects are called.

    `databases` and `roles` are the only ones of interest, None for all; `cluster` is
    the DatabaseCluster's name, `secret` that of the Secret with its DSN, and
    `namespace` where the others are.
    """

    cluster: str
    secret: str
    namespace: str
    databases: frozenset[str] | None = None
    roles: frozenset[str] | None = None
