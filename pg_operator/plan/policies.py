"""Whose a database or role is, and so whether it may be written or dropped. Pure.

Every write, drop and adoption asks `ownership` first.
"""

import enum
import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from pg_operator.api.names import RESERVED, SYSTEM_PREFIX
from pg_operator.api.specs import Adoption, Kind
from pg_operator.plan.state import (
    UNSET,
    Claimant,
    DatabaseState,
    Mark,
    RoleState,
    UnverifiedMark,
)


class Ownership(enum.Enum):
    """What an API object is to the database or role that it names."""

    ABSENT = "Absent"  # nobody's: there is none of that name
    OWNED = "Owned"
    UNFINISHED = "Unfinished"  # a database whose creation we began
    RELEASED = "Released"  # ours once, retained, carried on by the same object
    CONFLICT = "Conflict"  # another living object's
    ABANDONED = "Abandoned"  # marked by an object that is gone
    UNMANAGED = "Unmanaged"  # exists, and never was ours
    UNVERIFIED = "Unverified"  # says it is ours, but no key of ours can tell
    PROTECTED = "Protected"  # never to be touched
    ADOPTABLE = "Adoptable"  # nobody's now, and both sides agree to a take-over

    @property
    def may_write(self) -> bool:
        """Whether it may be created or altered for this object."""
        return self in {
            Ownership.ABSENT,
            Ownership.OWNED,
            Ownership.UNFINISHED,
            Ownership.RELEASED,
            Ownership.ADOPTABLE,
        }

    @property
    def may_delete(self) -> bool:
        """Whether deleting this object may touch it.

        Not when it is released: a retained one is dropped by nobody who did not take
        it over first.
        """
        return self in {Ownership.OWNED, Ownership.UNFINISHED}


class Consent(enum.Enum):
    """What an object with `adopt: true` may take over, as its DatabaseCluster says."""

    NONE = "None"
    RELEASED = "Released"  # what an object of the same namespace left behind
    LISTED = "Listed"  # this very name, whoever made it


def consent(
    adoption: Adoption, *, kind: Kind, namespace: str, name: str, adopt: bool
) -> Consent:
    """Return what both sides, the object and its DatabaseCluster, agree to."""
    if not adopt or adoption.policy == "Never":
        return Consent.NONE
    if adoption.policy == "Released":
        return Consent.RELEASED
    listed = adoption.databases if kind == "Database" else adoption.roles
    is_listed = any(
        entry.name == name and entry.namespace == namespace for entry in listed
    )
    return Consent.LISTED if is_listed else Consent.NONE


def ownership(
    state: DatabaseState | RoleState,
    *,
    claimant: Claimant,
    login: str,
    is_living: Callable[[Claimant], bool],
    protected: Collection[str] = (),
    consent: Consent = Consent.NONE,
) -> Ownership:
    """Judge an observed database or role for the API object that names it.

    Args:
        state: What was observed; its mark must have been.
        claimant: The object that asks.
        login: The operator's own login on the server.
        is_living: Tells whether a recorded claimant still exists in the API, as far as
            it is of the same operator as the one that asks. Another operator's objects
            cannot be seen from here: they live.
        protected: Further names that are off limits, such as the DSN's own database.
        consent: What the object may take over.

    """
    verdict = _verdict(
        state,
        claimant=claimant,
        login=login,
        is_living=is_living,
        protected=protected,
    )
    nobodys = {Ownership.UNMANAGED, Ownership.UNVERIFIED, Ownership.ABANDONED}
    if consent is Consent.LISTED and verdict in nobodys:
        return Ownership.ADOPTABLE
    if consent is Consent.RELEASED and verdict is Ownership.ABANDONED:
        # Names of namespaces are given out by who runs the cluster, not by tenants.
        mark = state.mark
        if isinstance(mark, Mark) and mark.claimant.namespace == claimant.namespace:
            return Ownership.ADOPTABLE
    return verdict


def _verdict(
    state: DatabaseState | RoleState,
    *,
    claimant: Claimant,
    login: str,
    is_living: Callable[[Claimant], bool],
    protected: Collection[str],
) -> Ownership:
    if _is_protected(state, login=login) or state.name in protected:
        return Ownership.PROTECTED
    if not state.exists:
        return Ownership.ABSENT
    mark = state.mark
    if mark is UNSET or isinstance(mark, UnverifiedMark):
        return Ownership.UNVERIFIED
    if mark is None:
        ours = is_unfinished(state, claimant) and _owner(state) == login
        return Ownership.UNFINISHED if ours else Ownership.UNMANAGED
    if is_same(mark.claimant, claimant):
        return Ownership.OWNED if mark.state == "managed" else Ownership.RELEASED
    lives = not is_of_one_operator(mark.claimant, claimant) or is_living(mark.claimant)
    return Ownership.CONFLICT if lives else Ownership.ABANDONED


def sentinel(claimant: Claimant) -> int:
    """Return the CONNECTION LIMIT, 1 to 2**31 - 1, of a database we began to create.

    CREATE DATABASE and its mark are not atomic: until it is marked, this number in a
    closed database of our login says whose it is.
    """
    identity = json.dumps(_identity(claimant)).encode()
    number = int.from_bytes(hashlib.sha256(identity).digest()[:8], "big")
    return number % (2**31 - 1) + 1


def is_unfinished(state: DatabaseState | RoleState, claimant: Claimant) -> bool:
    """Tell whether a database looks as we left it between creating and opening it."""
    return (
        isinstance(state, DatabaseState)
        and state.exists
        and state.allow_connections is False
        and state.connection_limit
        in {sentinel(replace(claimant, owner_id=one)) for one in _ids(claimant)}
    )


def is_same(one: Claimant, other: Claimant) -> bool:
    """Tell whether two claimants are one object, also after it was re-created."""
    is_named_alike = (one.kind, one.name) == (other.kind, other.name)
    return is_named_alike and is_of_one_namespace(one, other)


def is_of_one_operator(one: Claimant, other: Claimant) -> bool:
    """Tell whether two claimants are one operator's, also under a former id of it."""
    return one.owner_id in _ids(other) or other.owner_id in _ids(one)


def is_of_one_namespace(one: Claimant, other: Claimant) -> bool:
    """Tell whether the objects of two claimants lie in one namespace."""
    is_of_one = one.namespace_uid == other.namespace_uid
    return is_of_one and is_of_one_operator(one, other)


def is_managed_by(
    state: DatabaseState | RoleState, claimants: Iterable[Claimant]
) -> bool:
    """Tell whether the mark, which nobody can forge, says that one of these has it."""
    mark = state.mark
    if not isinstance(mark, Mark) or mark.state != "managed":
        return False
    return any(is_same(mark.claimant, claimant) for claimant in claimants)


def released(mark: Mark) -> Mark:
    """Return the mark of something retained.

    It forgets the password: whoever carries on sets it again, since nobody watched it.
    """
    return replace(mark, state="released", password=None)


def _ids(claimant: Claimant) -> frozenset[str]:
    return claimant.former_ids | {claimant.owner_id}


def _identity(claimant: Claimant) -> tuple[str, str, str, str]:
    # The namespace's name says nothing that its UID does not.
    return (
        claimant.owner_id,
        claimant.kind,
        claimant.namespace_uid,
        claimant.name,
    )


def _is_protected(state: DatabaseState | RoleState, *, login: str) -> bool:
    if isinstance(state, DatabaseState):
        return state.name in RESERVED["database"]
    return (
        state.name == login
        or state.superuser is True
        or state.name in RESERVED["role"]
        or state.name.startswith(SYSTEM_PREFIX)
    )


def _owner(state: DatabaseState | RoleState) -> object:
    return state.owner if isinstance(state, DatabaseState) else None
