"""Conditions of all three kinds, their reasons, and how they are stored. Pure."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Status = Literal["True", "False", "Unknown"]

# What the schema of metav1.Condition allows.
LONGEST_MESSAGE: Final = 32768


class Reason(enum.StrEnum):
    """Every reason that a condition may give: part of the API, never renamed."""

    # All is as declared.
    RECONCILED = "Reconciled"

    # The server of a DatabaseCluster.
    CONNECTED = "Connected"
    SERVER_UNREACHABLE = "ServerUnreachable"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    INVALID_DSN = "InvalidDSN"
    MISSING_PRIVILEGES = "MissingPrivileges"
    SERVER_IN_RECOVERY = "ServerInRecovery"
    SERVER_CHANGED = "ServerChanged"

    # What an object refers to.
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 (a reason, not a password)
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105
    SECRET_CONFLICT = "SecretConflict"  # noqa: S105
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    CLUSTER_UNAVAILABLE = "ClusterUnavailable"
    CLUSTER_TERMINATING = "ClusterTerminating"
    DATABASE_NOT_FOUND = "DatabaseNotFound"
    DATABASE_NOT_READY = "DatabaseNotReady"
    EXTENSION_NOT_FOUND = "ExtensionNotFound"
    ROLE_NOT_FOUND = "RoleNotFound"
    ROLE_NOT_READY = "RoleNotReady"
    NOT_ALLOWED = "NotAllowed"

    # What the object itself says, or whose the name is.
    INVALID_SPEC = "InvalidSpec"
    INVALID_PASSWORD = "InvalidPassword"  # noqa: S105
    IMMUTABLE = "Immutable"
    DATABASE_INVALID = "DatabaseInvalid"
    CONFLICT = "Conflict"
    ALREADY_EXISTS = "AlreadyExists"
    UNVERIFIED = "Unverified"

    # What could not be done on the server, or not yet.
    PASSWORD_PENDING = "PasswordPending"  # noqa: S105
    PARTIALLY_APPLIED = "PartiallyApplied"
    SERVER_BUSY = "ServerBusy"
    SERVER_ERROR = "ServerError"

    # What the API server did not let the operator do.
    FORBIDDEN = "Forbidden"

    # The Service of a Database.
    SERVICE_CONFLICT = "ServiceConflict"
    SERVICE_UNSUPPORTED = "ServiceUnsupported"

    # Held by an annotation.
    PAUSED = "Paused"
    PLANNED = "Planned"

    # Deletion.
    DELETION_BLOCKED = "DeletionBlocked"
    WAITING_FOR_REFERENCES = "WaitingForReferences"


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about an object, as a reconciler makes it."""

    type: str
    status: Status
    reason: str
    message: str


def merge_conditions(
    existing: Sequence[Mapping[str, Any]],
    desired: Sequence[Condition],
    *,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """Return the list to store, sorted by type: exactly the desired conditions.

    A condition whose status did not change keeps its lastTransitionTime; `now` is RFC
    3339 text. The result equals `existing` when there is nothing new to store.
    """
    stored = {condition.get("type"): condition for condition in existing}
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "observedGeneration": generation,
            "lastTransitionTime": _transition(stored.get(condition.type), condition)
            or now,
            "reason": str(condition.reason),
            "message": condition.message[:LONGEST_MESSAGE],
        }
        for condition in sorted(desired, key=lambda condition: condition.type)
    ]


def _transition(stored: Mapping[str, Any] | None, condition: Condition) -> str | None:
    if stored is None or stored.get("status") != condition.status:
        return None
    moment = stored.get("lastTransitionTime")
    return moment if isinstance(moment, str) else None
