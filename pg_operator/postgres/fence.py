"""The server as the fence between a controller and the one that takes over from it.

A controller leads by a Lease, and a process that was frozen does not know that its time
is up. So whoever writes takes, in the database that it writes in, a shared advisory
lock first, then looks whether it still leads, and keeps the lock until the write is
done. Before its own first write there a new controller takes the same lock exclusively.
When it is granted:

- no older transaction with a write in it is open, since its lock would be in the way;
- one that begins later gets its lock after that moment, and then finds on its own clock
  that its Lease is over: others wait longer for a Lease than its holder counts on it.

One who is frozen between the look and the write holds the lock, and the server ends its
session: after 5 s idle in a transaction, or idle with the lock outside of one.

Anybody who may connect to a database can take these locks there, too. Nobody waits for
them longer than lock_timeout, and a stranger who holds one is named.

Advisory locks do not cross databases, hence once in each. Within a transaction the lock
rides on the statement that takes the others, and goes with the transaction: for a write
nothing is gained by keeping it longer. CREATE and DROP DATABASE run in no transaction,
so theirs is the session's.
"""

from collections.abc import Callable
from typing import Final

from pg_operator.postgres.errors import Superseded

# Any number will do, as long as every version of the operator uses the same.
FENCE_CLASS: Final = 0x70676F71
LOCK_CLASS: Final = 0x70676F70

_LOCKS: Final = """
SELECT pg_catalog.{fence}({fence_class}, 0)
UNION ALL
SELECT pg_catalog.pg_advisory_xact_lock({lock_class}, key) FROM (
 SELECT DISTINCT pg_catalog.hashtext(name) AS key
 FROM pg_catalog.unnest(%s::text[]) AS name ORDER BY key) AS keys
"""
_NUMBERS: Final = {"fence_class": FENCE_CLASS, "lock_class": LOCK_CLASS}
SHARED: Final = _LOCKS.format(fence="pg_advisory_xact_lock_shared", **_NUMBERS)
EXCLUSIVE: Final = _LOCKS.format(fence="pg_advisory_xact_lock", **_NUMBERS)

# What the server calls the session, whatever something in between calls it.
_PID: Final = "; SELECT pg_catalog.pg_backend_pid()"
# Exclusively for a moment; the session has the shared lock before it gives that up.
ENTER: Final = (
    "SET statement_timeout TO 0; SET idle_session_timeout TO '5s';"
    f" SELECT pg_catalog.pg_advisory_lock({FENCE_CLASS}, 0);"
    f" SELECT pg_catalog.pg_advisory_lock_shared({FENCE_CLASS}, 0);"
    f" SELECT pg_catalog.pg_advisory_unlock({FENCE_CLASS}, 0)" + _PID
)
ENTER_AGAIN: Final = (
    "SET statement_timeout TO 0; SET idle_session_timeout TO '5s';"
    f" SELECT pg_catalog.pg_advisory_lock_shared({FENCE_CLASS}, 0)" + _PID
)
LEAVE: Final = (
    "RESET statement_timeout; RESET idle_session_timeout;"
    f" SELECT pg_catalog.pg_advisory_unlock_shared({FENCE_CLASS}, 0)"
)

# Who holds locks of ours and is not our login: pid, or null of a prepared transaction.
STRANGERS: Final = """
SELECT l.pid FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
JOIN pg_catalog.pg_database AS d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND l.granted
  AND l.classid::bigint IN ({fence_class}, {lock_class})
  AND d.datname = pg_catalog.current_database()
  AND a.usename IS DISTINCT FROM current_user
ORDER BY l.pid LIMIT 1
""".format(**_NUMBERS)


class Fence:
    """What one controller knows of one server's fence.

    `may_write` tells whether the controller still leads, by its own clock.
    """

    def __init__(self, may_write: Callable[[], bool]) -> None:
        self._may_write = may_write
        self._passed: set[str] = set()

    def locks(self, database: str) -> str:
        """Return the statement that takes a transaction's locks; it takes names."""
        return SHARED if database in self._passed else EXCLUSIVE

    def enter(self, database: str) -> str:
        """Return what takes a session's lock for a slow statement, and asks its pid."""
        return ENTER_AGAIN if database in self._passed else ENTER

    def passed(self, database: str) -> None:
        """Take note that the lock was granted, and look whether that was in time.

        Raises:
            Superseded: another controller may lead by now; nothing may be written.
        """
        if not self._may_write():
            raise Superseded("another controller may lead by now")
        self._passed.add(database)

    def built(self, database: str) -> None:
        """Take note of a database that this controller made: no other was ever in."""
        self._passed.add(database)
