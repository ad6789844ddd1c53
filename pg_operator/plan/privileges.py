"""Granting and revoking as values, and which of them a change of grants takes. Pure.

Sets of single words become few statements: objects of a schema that share their words
are named together.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import WILDCARD
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.scope import covered, declared

# PostgreSQL 18 locks each named table, and its lock table is finite. ALL TABLES IN
# SCHEMA is no faster, takes members of extensions along, and cannot be kept from
# colliding with a migration.
LONGEST_LIST: Final = 1000

_PLURALS: Final[dict[ObjectKind, str]] = {
    "database": "databases",
    "schema": "schemas",
    "table": "tables",
    "column": "columns",
    "sequence": "sequences",
    "function": "functions",
    "type": "types",
}


@dataclass(frozen=True, slots=True)
class _Privileges:
    """Words on objects of one kind: of one schema, and columns of one table.

    At most 1,000 objects, either existing or future ones.
    """

    role: str
    on: tuple[Securable, ...]
    privileges: tuple[str, ...]
    grantable: bool = False

    @property
    def kind(self) -> ObjectKind:
        """The kind of all the objects."""
        return self.on[0].kind

    @property
    def database(self) -> str:
        """The database that the objects are in."""
        return self.on[0].database

    def _words(self, *, grantable: bool) -> Grants:
        return frozenset(
            Grant(on, word, grantable) for on in self.on for word in self.privileges
        )

    def _described(self) -> str:
        """Say words and objects; many objects by their number."""
        words = ", ".join(self.privileges)
        on = self.on[0]
        if on.creator:
            return f"{words} on {', '.join(map(str, self.on))}"
        if on.kind == "database":
            return f"{words} on database {on.database}"
        if on.kind == "schema":
            names = [each.schema for each in self.on]
            place = f"database {on.database}"
        elif on.kind == "column":
            names = [each.column for each in self.on]
            place = f"table {on.name} of schema {on.schema} in database {on.database}"
        else:
            names = [each.name for each in self.on]
            place = f"schema {on.schema} in database {on.database}"
        several = f"{len(names)} {_PLURALS[on.kind]}"
        objects = several if len(names) > 1 else f"{on.kind} {names[0]}"
        return f"{words} on {objects} {'in' if on.kind == 'schema' else 'of'} {place}"


@dataclass(frozen=True, slots=True)
class GrantPrivileges(_Privileges):
    """GRANT words ON objects TO role, WITH GRANT OPTION if grantable."""

    def grants(self) -> Grants:
        """Return every single word on every single object that is held afterwards."""
        plain = self._words(grantable=False)
        return plain | self._words(grantable=True) if self.grantable else plain

    def __str__(self) -> str:
        option = " with grant option" if self.grantable else ""
        return f"grant {self._described()} to role {self.role}{option}"


@dataclass(frozen=True, slots=True)
class RevokePrivileges(_Privileges):
    """REVOKE words ON objects FROM role, GRANT OPTION FOR them only if grantable."""

    def grants(self) -> Grants:
        """Return every single word on every single object that is gone afterwards."""
        options = self._words(grantable=True)
        return options if self.grantable else options | self._words(grantable=False)

    def __str__(self) -> str:
        what = "the grant option for " if self.grantable else ""
        return f"revoke {what}{self._described()} from role {self.role}"


@dataclass(frozen=True, slots=True)
class PrivilegeChanges:
    """What to revoke and what to grant, each in the order it must run."""

    revokes: tuple[RevokePrivileges, ...]
    grants: tuple[GrantPrivileges, ...]


def privilege_changes(
    role: str,
    *,
    desired: Grants,
    held: Grants,
    recorded: Grants,
    scope: Grants,
) -> PrivilegeChanges:
    """Return what makes a role hold what is desired, and nothing of ours beyond it.

    Args:
        role: The role.
        desired: What it shall hold.
        held: What it holds.
        recorded: The scope of what was ours so far: only that is revoked.
        scope: The scope of what is ours from now on: that is not revoked.

    """
    # Mostly there is nothing beyond, and what is held may be much.
    beyond = held - desired
    # What a wildcard leaves out is not there, whoever granted it.
    ours = covered(beyond, recorded | scope)
    revoked = ours - declared(ours, scope)
    granted = desired - held
    wiped: Grants = frozenset()
    if revoked:
        revoked |= {one for one in held if one.grantable and _base(one) in revoked}
        # REVOKE on a table also takes the word away from each of its columns.
        wiped = wiped_columns(held, revoked)
        granted |= (desired & (revoked | wiped)) | (wiped - revoked)
    # Who is granted the option is granted the word, too.
    upgraded = {_base(grant) for grant in granted if grant.grantable}
    revokes = revoke_statements(role, revoked, but=wiped)
    grants = [
        *_statements(GrantPrivileges, role, granted - upgraded),
        *_statements(GrantPrivileges, role, granted, grantable=True),
    ]
    return PrivilegeChanges(
        # A schema opens before what is in it, and closes after.
        revokes=tuple(
            sorted(revokes, key=lambda each: (each.database, each.kind == "schema"))
        ),
        grants=tuple(
            sorted(grants, key=lambda each: (each.database, each.kind != "schema"))
        ),
    )


def revoke_statements(
    role: str, grants: Grants, *, but: Grants = frozenset()
) -> tuple[RevokePrivileges, ...]:
    """Return what takes grants away, but for some that go by themselves.

    An option goes with its word.
    """
    options = {grant for grant in grants if _base(grant) not in grants}
    return (
        *_statements(RevokePrivileges, role, grants - options - but),
        *_statements(RevokePrivileges, role, options - but, grantable=True),
    )


def wiped_columns(held: Grants, revoked: Grants) -> Grants:
    """Return what is held on columns and goes with what is revoked on their tables."""
    return frozenset(
        grant
        for grant in held
        if grant.on.kind == "column"
        and not revoked.isdisjoint(
            {
                Grant(table_of(grant.on), grant.privilege),
                Grant(table_of(grant.on), grant.privilege, grant.grantable),
            }
        )
    )


def _base(grant: Grant) -> Grant:
    """Return the privilege that an option is for; a privilege itself."""
    return grant._replace(grantable=False)


def table_of(column: Securable) -> Securable:
    """Return the table that a column is in."""
    return column._replace(kind="table", column="")


Statement = TypeVar("Statement", GrantPrivileges, RevokePrivileges)


def _statements(
    make: type[Statement],
    role: str,
    grants: Collection[Grant],
    *,
    grantable: bool = False,
) -> Iterator[Statement]:
    words: defaultdict[Securable, set[str]] = defaultdict(set)
    for grant in grants:
        if grant.grantable == grantable:
            words[grant.on].add(grant.privilege)
    groups: defaultdict[tuple[Securable, tuple[str, ...]], list[Securable]]
    groups = defaultdict(list)
    for on, held in words.items():
        groups[_home(on), tuple(sorted(held))].append(on)
    for (_, privileges), objects in sorted(groups.items()):
        for chunk in _chunks(sorted(objects), LONGEST_LIST):
            yield make(role, chunk, privileges, grantable)


def _home(on: Securable) -> Securable:
    """Return what objects have in common that one statement can name."""
    if on.creator:
        return on._replace(creator=WILDCARD)
    if on.kind in {"database", "schema"}:
        return on
    return on._replace(column="") if on.kind == "column" else on._replace(name="")


def _chunks(objects: Iterable[Securable], size: int) -> Iterator[tuple[Securable, ...]]:
    rest = iter(objects)
    while chunk := tuple(islice(rest, size)):
        yield chunk
