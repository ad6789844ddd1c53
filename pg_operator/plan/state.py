"""One type for what should be and what is, and the values it is made of. Pure.

`desired_*` and `observe_*` both build these. A desired state leaves what the user did
not declare `UNSET`, and the diff then leaves it alone.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from pg_operator.api.secret import SecretText
from pg_operator.plan.grants import NO_FUNCTIONS, Grants, Securable


class Unset(enum.Enum):
    """The type of `UNSET`: not declared, or not observed."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

Owner = Literal["Database", "DatabaseRole"]
EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
NOBODY: Final[Mapping[str, frozenset[str]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Membership:
    """That a role is a member of another, with its options.

    PostgreSQL 16 and newer keep one for each grantor, and give it INHERIT and SET;
    before, both are UNSET. A desired one has no grantor. `own` tells whether a GRANT of
    the operator's login would change this one, and not add another beside it.
    """

    role: str
    admin: bool = False
    inherit: bool | Unset = UNSET
    set: bool | Unset = UNSET
    grantor: str = ""
    own: bool = True

    @property
    def options(self) -> tuple[object, object, object]:
        """What two memberships have in common that give the same."""
        return self.admin, self.inherit, self.set


Memberships = frozenset[Membership]


def membership_path(group: str) -> str:
    """Return where a membership stands in the spec of a DatabaseRole."""
    return f"spec.memberOf[{group}]"


@dataclass(frozen=True, slots=True, order=True)
class RoleParameter:
    """A configuration parameter of a role, in one database or ("") in all."""

    name: str
    database: str = ""

    @property
    def list_path(self) -> str:
        """Where it and its neighbours stand in the spec of a DatabaseRole."""
        place = f"spec.permissions[{self.database}]" if self.database else "spec"
        return f"{place}.parameters"

    @property
    def path(self) -> str:
        """Where it stands in the spec of a DatabaseRole."""
        return f"{self.list_path}[{self.name}]"


RoleParameters = Mapping[RoleParameter, str]
NO_PARAMETERS: Final[RoleParameters] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claimant:
    """The API object that a database or role belongs to, as a mark records it.

    `owner_id` says which operator's. One that exists may have worked under
    `former_ids` before; no mark says so, and it is the same claimant with and without.
    """

    owner_id: str
    kind: Owner
    namespace: str
    namespace_uid: str
    name: str
    former_ids: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the COMMENT of a managed database or role says.

    `scope` holds the grants last applied to a role (with wildcards as written),
    `memberships` the roles it was made a member of, `attributes` and `role_parameters`
    what it was given of these, `parameters` and `extensions` the names of a database's,
    `password` the keyed fingerprint of the password last set and `verifier` that of
    what the server stored of it: all commit with the change they describe, so they are
    true after any crash. What is `adopted` was made by somebody else.
    """

    claimant: Claimant
    state: Literal["managed", "released"] = "managed"
    scope: Grants = frozenset()
    memberships: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    role_parameters: frozenset[RoleParameter] = frozenset()
    parameters: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    adopted: bool = False
    password: str | None = None
    verifier: str | None = None
    foreign_comment: str | None = None


@dataclass(frozen=True, slots=True)
class UnverifiedMark:
    """A comment that says it is ours, but that no key of ours opens."""


Marked = Mark | UnverifiedMark | None


@dataclass(frozen=True, slots=True)
class Password:
    """A password, compared by its keyed fingerprint only."""

    fingerprint: str
    text: SecretText | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Locale:
    """What sorts text in a database; None is the template's, or not declared."""

    provider: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """An extension of a database; a desired version may be left to the server."""

    schema: str
    version: str | Unset = UNSET


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database: its row in pg_database, its mark, and its schemas.

    `public_privileges` are the words that PUBLIC holds on the database; `settings` are
    database-wide (ALTER DATABASE SET) by their names in lower case, and a desired one
    lists only what is declared. `schema_owners` are the owners of `schemas`; a desired
    one has those that are declared. `template` is desired only, for the creation.
    `public_schema_open` tells whether PUBLIC may CREATE in schema public, as up to
    PostgreSQL 14. `comment` is the raw comment when it is not a mark of ours;
    `mark_overwritten` tells that the mark is remembered and no longer there.
    """

    name: str
    exists: bool = True
    oid: int | Unset = UNSET
    owner: str | Unset = UNSET
    encoding: str | Unset = UNSET
    locale: Locale | Unset = UNSET
    template: str | Unset = UNSET
    tablespace: str | Unset = UNSET
    allow_connections: bool | Unset = UNSET
    connection_limit: int | Unset = UNSET
    public_privileges: frozenset[str] | Unset = UNSET
    settings: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    schemas: frozenset[str] = frozenset()
    schema_owners: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    extensions: Mapping[str, Installed] = field(default_factory=dict)
    public_schema_open: bool | Unset = UNSET
    mark: Marked | Unset = UNSET
    mark_overwritten: bool = False
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role: its row in pg_authid, its mark, its memberships and direct privileges.

    `self_member` tells whether the operator's own login is a member of the role with
    INHERIT and SET, which a login that is no superuser needs to grant on and reassign
    what the role owns; `powerful`, whether the role is or may become a superuser or the
    operator's login. `verifier` is the keyed fingerprint of what is stored of its
    password, where the login may see that. `mark_overwritten` is as for a database.
    """

    name: str
    exists: bool = True
    oid: int | Unset = UNSET
    login: bool | Unset = UNSET
    superuser: bool | Unset = UNSET
    powerful: bool | Unset = UNSET
    connection_limit: int | Unset = UNSET
    password: Password | Unset | None = UNSET
    verifier: str | Unset | None = UNSET
    self_member: bool | Unset = UNSET
    inherit: bool | Unset = UNSET
    valid_until: str | Unset = UNSET
    attributes: frozenset[str] = frozenset()
    parameters: RoleParameters = field(default_factory=lambda: NO_PARAMETERS)
    memberships: Memberships = frozenset()
    grants: Grants = frozenset()
    mark: Marked | Unset = UNSET
    mark_overwritten: bool = False
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """What the probe of a server found out, and what the operator's login may do.

    `set_passwords` is false where RDS restricts that to members of `rds_password`;
    `read_passwords` tells whether the login sees what is stored of passwords;
    `connection_limit` is the login's own, -1 for none; `visitors` are PUBLIC and the
    roles that were given CONNECT on the DSN's own database.
    """

    version_number: int
    version: str
    system_identifier: str
    started_at: str
    in_recovery: bool
    login: str
    superuser: bool
    create_database: bool
    create_role: bool
    signal_backend: bool
    inherits: bool = True
    set_passwords: bool = True
    read_passwords: bool = False
    connection_limit: int = -1
    visitors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """What exists inside one database: every schema, and objects that were asked for.

    `objects` can be granted on: members of extensions are left out. A table is an
    ordinary, partitioned or foreign one, a view or a materialized view. `functions`
    maps those that exist from how they were asked for to how the server writes them.
    `public_schema_open` tells whether PUBLIC may CREATE in schema public.
    `schema_owners` maps every schema to its owner.
    """

    database: str
    schemas: frozenset[str]
    objects: frozenset[Securable] = frozenset()
    functions: Mapping[Securable, Securable] = field(
        default_factory=lambda: NO_FUNCTIONS
    )
    public_schema_open: bool = False
    schema_owners: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Where a role is entangled, from pg_shdepend: database names by what it has there.

    `owned_databases` are databases that the role itself owns; in those of `policies_in`
    row security policies name it.
    """

    owner_in: frozenset[str]
    granted_in: frozenset[str]
    owned_databases: frozenset[str]
    policies_in: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pending:
    """A part of a spec that is not true yet: where, why, and what to do."""

    path: str
    reason: str
    message: str
