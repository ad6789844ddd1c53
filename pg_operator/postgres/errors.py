"""What can go wrong on a server, in words that are fit for a condition.

PostgresError
├── InvalidDSN            the Secret's text is no DSN that we use
├── ServerUnreachable     no connection, or it was lost
├── AuthenticationFailed  the server does not take the DSN's login
├── ServerRefused         reachable, but busy, starting, stopping or read-only
├── DatabaseRefused       the server is fine, one database lets nobody in
│   ├── DatabaseFull      its connection limit is reached
│   └── DatabaseTooLarge  there is more in it than we read
├── MissingPrivilege      the operator's login may not do it
├── ObjectInUse           something else uses or depends on the object
├── AlreadyExistsNow      made by someone else since we looked
├── Transient             locks and races, after the retries
├── OutOfLocks            the server's lock table has no room for it
├── Superseded            not sent: another controller may lead by now
└── Rejected              anything else
    └── NotFound          the object is not there

No text holds a DSN, a host, a password, a value or PostgreSQL's DETAIL, and none holds
a name that the failed operation did not name itself: tenants read these texts.
"""

from typing import ClassVar


class PostgresError(Exception):
    """The root; `str()` is a sentence for users, `reason` a condition's reason."""

    reason: ClassVar[str] = "PostgresError"


class InvalidDSN(PostgresError):
    """The text in the connection Secret cannot be used as a DSN."""

    reason = "InvalidDSN"


class ServerUnreachable(PostgresError):
    """No connection could be made, or the one we had is gone."""

    reason = "ServerUnreachable"


class AuthenticationFailed(PostgresError):
    """The server does not take the user and password of the DSN."""

    reason = "AuthenticationFailed"


class ServerRefused(PostgresError):
    """The server answers, but takes no session or no write at the moment."""

    reason = "ServerRefused"


class DatabaseRefused(PostgresError):
    """One database cannot be entered; the server itself is fine."""

    reason = "DatabaseRefused"


class DatabaseFull(DatabaseRefused):
    """All the connections that its limit allows are taken."""

    reason = "DatabaseFull"


class DatabaseTooLarge(DatabaseRefused):
    """There is more in it of what was asked for than one controller should hold."""

    reason = "DatabaseTooLarge"


class MissingPrivilege(PostgresError):
    """The operator's login lacks a privilege."""

    reason = "MissingPrivilege"


class ObjectInUse(PostgresError):
    """Sessions, slots or other objects keep it from being changed."""

    reason = "ObjectInUse"


class AlreadyExistsNow(PostgresError):
    """It was not there when we looked and is now: look again."""

    reason = "AlreadyExists"


class Transient(PostgresError):
    """A lock or a concurrent change was in the way; the same may succeed later."""

    reason = "Transient"


class OutOfLocks(PostgresError):
    """The server cannot keep as many locks as this needs beside those of others."""

    reason = "OutOfLocks"


class LockHeld(PostgresError):
    """Somebody who is not the operator holds its advisory lock."""

    reason = "LockHeld"


class Superseded(PostgresError):
    """Nothing was written, because another controller may lead by now."""

    reason = "Superseded"


class Rejected(PostgresError):
    """PostgreSQL said no; `sqlstate` is its code, empty when we said no ourselves."""

    reason = "Rejected"

    def __init__(self, message: str, *, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class NotFound(Rejected):
    """The object, or one that it needs, does not exist."""

    reason = "NotFound"
