"""What a spec wants, as states that a diff compares with what is observed. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec
from pg_operator.api.values import parse_valid_until
from pg_operator.plan.diff import PUBLIC_SCHEMA, UNLIMITED, has_drifted
from pg_operator.plan.extensions import NONE_INSTALLED
from pg_operator.plan.grants import Grants
from pg_operator.plan.memberships import NO_MEMBERSHIPS, DesiredMemberships
from pg_operator.plan.policies import is_unfinished
from pg_operator.plan.role_properties import NO_PROPERTIES, DesiredProperties
from pg_operator.plan.state import (
    EMPTY,
    UNSET,
    Claimant,
    DatabaseState,
    Installed,
    Locale,
    Mark,
    Password,
    Pending,
    RoleState,
    Server,
    Unset,
)

NOTHING_HELD: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
TIMEZONE: Final = "timezone"  # settings are named in lower case
# From PostgreSQL 15 on, PUBLIC may not create in schema public.
CLOSED_PUBLIC_SCHEMA: Final = 150000


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What a role has beside its grants: memberships, attributes and parameters."""

    memberships: DesiredMemberships = NO_MEMBERSHIPS
    properties: DesiredProperties = NO_PROPERTIES

    @property
    def pending(self) -> tuple[Pending, ...]:
        """What it may not or cannot have now."""
        return (*self.properties.pending, *self.memberships.pending)


NO_ENTITLEMENTS: Final = Entitlements()


def desired_database(
    spec: DatabaseSpec,
    *,
    claimant: Claimant,
    observed: DatabaseState,
    server: Server,
    roles: Collection[str] = (),
    parameters: Mapping[str, str] = EMPTY,
    held: Mapping[str, Collection[str]] = NOTHING_HELD,
    extensions: Mapping[str, Installed] = NONE_INSTALLED,
) -> DatabaseState:
    """Return what a Database wants of a database that is absent or its own.

    What the spec leaves out is not managed, except while it is being created: it opens
    without a limit, and new schemas get its owner. `encoding` only counts for one that
    does not exist. `roles` are those of the spec's roles that may be named now: what
    names another waits, and so does a new schema that is to be its. `parameters` are
    the settings that may be set and `extensions` those that may be made, in their
    order; `held` has the names, by field, that stay on record without being among them.
    """
    fresh = not observed.exists or is_unfinished(observed, claimant)
    mark = desired_mark(claimant, observed)
    revoke = spec.public_privileges == "Revoke" or (
        spec.public_privileges is None and not mark.adopted
    )
    # Only a superuser can: the schema belongs to the bootstrap superuser there.
    close_schema = (
        revoke and server.superuser and server.version_number < CLOSED_PUBLIC_SCHEMA
    )
    limit = spec.connection_limit
    if limit is None and fresh:
        limit = UNLIMITED
    owners = _schema_owners(spec, observed)
    waiting = {name for name, owner in owners.items() if owner not in roles}
    return DatabaseState(
        name=spec.name,
        owner=UNSET if spec.owner is None or spec.owner not in roles else spec.owner,
        encoding=UNSET if spec.encoding is None else spec.encoding,
        locale=Locale(spec.locale_provider, spec.locale),
        template=UNSET if spec.template is None else spec.template,
        tablespace=UNSET if spec.tablespace is None else spec.tablespace,
        allow_connections=True if fresh else UNSET,
        connection_limit=UNSET if limit is None else limit,
        public_privileges=frozenset() if revoke else UNSET,
        settings={**parameters, **_timezone(spec)},
        schemas=frozenset(spec.schema_names) - (waiting - observed.schemas),
        schema_owners={
            name: owner for name, owner in owners.items() if name not in waiting
        },
        extensions=extensions,
        public_schema_open=False if close_schema else UNSET,
        mark=replace(
            mark,
            parameters=frozenset(parameters)
            | (mark.parameters & frozenset(held.get("parameters", ()))),
            extensions=frozenset(extensions)
            | (mark.extensions & frozenset(held.get("extensions", ()))),
        ),
    )


def without_inside(desired: DatabaseState) -> DatabaseState:
    """Return what is desired of a database that cannot be entered now."""
    return replace(
        desired,
        schemas=frozenset(),
        schema_owners=EMPTY,
        extensions=NONE_INSTALLED,
        public_schema_open=UNSET,
    )


def _timezone(spec: DatabaseSpec) -> Mapping[str, str]:
    return EMPTY if spec.timezone is None else {TIMEZONE: spec.timezone}


def _schema_owners(spec: DatabaseSpec, observed: DatabaseState) -> dict[str, str]:
    """Return who shall own the schemas: as written, a new one the database's owner."""
    owners = {}
    for schema in spec.all_schemas:
        is_new = schema.name not in observed.schemas | {PUBLIC_SCHEMA}
        owner = schema.owner or (spec.owner if is_new else None)
        if owner is not None:
            owners[schema.name] = owner
    return owners


def desired_role(
    spec: DatabaseRoleSpec,
    *,
    claimant: Claimant,
    observed: RoleState,
    server: Server,
    password: Password | None,
    grants: Grants,
    scope: Grants,
    entitlements: Entitlements = NO_ENTITLEMENTS,
) -> RoleState:
    """Return what a DatabaseRole wants of a role that is absent or its own.

    Args:
        spec: The parsed spec.
        claimant: The object.
        observed: The role as it is.
        server: A login that is no superuser must be a member of its roles.
        password: None when the spec declares none, or the Secret cannot be read now;
            an existing role then keeps the one it has. A role that declares one must
            not be created without it.
        grants: What it shall hold, from `desired_grants`.
        scope: What it may be granted, from `declared_scope` and `hold`.
        entitlements: What it shall have besides.

    """
    mark = desired_mark(claimant, observed)
    return RoleState(
        name=spec.role_name,
        login=_login(spec, observed, password),
        connection_limit=(
            UNSET if spec.connection_limit is None else spec.connection_limit
        ),
        password=UNSET if password is None else password,
        self_member=UNSET if server.superuser else True,
        inherit=UNSET if spec.inherit is None else spec.inherit,
        valid_until=(
            UNSET if spec.valid_until is None else parse_valid_until(spec.valid_until)
        ),
        attributes=entitlements.properties.attributes,
        parameters=entitlements.properties.parameters,
        memberships=entitlements.memberships.wanted,
        grants=grants,
        mark=replace(
            mark,
            scope=scope,
            memberships=entitlements.memberships.scope,
            attributes=entitlements.properties.attributes,
            role_parameters=entitlements.properties.parameter_scope,
            password=mark.password if password is None else password.fingerprint,
            # Unknown until it is set again, which writes what is new.
            verifier=(
                None
                if password is not None and has_drifted(observed)
                else mark.verifier
            ),
        ),
    )


def desired_mark(claimant: Claimant, observed: DatabaseState | RoleState) -> Mark:
    """Return the mark that says "managed by this object" and keeps what is recorded."""
    recorded = observed.mark
    if isinstance(recorded, Mark):
        return replace(recorded, claimant=claimant, state="managed")
    adopted = observed.exists and not is_unfinished(observed, claimant)
    return Mark(claimant, adopted=adopted, foreign_comment=observed.comment)


def immutable_differences(
    spec: DatabaseSpec, observed: DatabaseState
) -> tuple[Pending, ...]:
    """Return what the spec says otherwise than the server, and nothing can change."""
    if not observed.exists:
        return ()
    locale = Locale() if observed.locale is UNSET else observed.locale
    fields = (
        ("encoding", spec.encoding, observed.encoding),
        ("localeProvider", spec.locale_provider, locale.provider or UNSET),
        ("locale", spec.locale, locale.name or UNSET),
        ("tablespace", spec.tablespace, observed.tablespace),
    )
    return tuple(
        _immutable(field, actual)
        for field, wanted, actual in fields
        if wanted is not None
        and actual is not UNSET
        and (_spelling(wanted) != _spelling(actual) or field == "tablespace")
        and wanted != actual
    )


def _spelling(value: str) -> str:
    """Let en_US.UTF-8 be en_US.utf8, and de_DE be de-DE, as libc and ICU do."""
    return value.casefold().replace("-", "").replace("_", "")


def _immutable(field: str, actual: str) -> Pending:
    message = (
        f"the database has {field} {actual}, which cannot be changed; "
        f"set spec.{field} to {actual}"
    )
    return Pending(f"spec.{field}", Reason.IMMUTABLE, message)


def _login(
    spec: DatabaseRoleSpec, observed: RoleState, password: Password | None
) -> bool | Unset:
    """Return what is declared, or else what a declared password stands for."""
    if spec.login is not None:
        return spec.login
    if not observed.exists:
        return spec.declares_password
    is_due = spec.declares_password and _is_to_log_in(observed, password)
    return True if is_due else UNSET


def _is_to_log_in(observed: RoleState, password: Password | None) -> bool:
    """Tell whether a role is to log in that may have been made without.

    It was disabled when its object was deleted and now is back, or this is its first
    password. Later on, who disables it by hand has their reason.
    """
    mark = observed.mark
    if not isinstance(mark, Mark):
        return False
    return mark.state == "released" or (mark.password is None and password is not None)
