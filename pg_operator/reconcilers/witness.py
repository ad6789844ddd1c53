"""Marks that this process has seen valid, for when somebody overwrites one.

An owner may comment on its database, and so take away what says whose it is.
"""

from dataclasses import replace
from typing import TypeVar

from pg_operator.plan.state import UNSET, DatabaseState, Mark, RoleState, Server
from pg_operator.reconcilers.outcome import Event

State = TypeVar("State", DatabaseState, RoleState)


class Witness:
    """Keeps the last valid mark of every database and role, by server, name and OID."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, type, str], tuple[object, Mark]] = {}

    def see(self, server: Server, state: State) -> State:
        """Remember a valid mark, or return the state with the one that was there.

        What has another OID is another database or role, which nobody has seen marked.
        """
        key = (server.system_identifier, type(state), state.name)
        if isinstance(state.mark, Mark):
            self._seen[key] = (state.oid, state.mark)
            return state
        oid, mark = self._seen.get(key, (UNSET, None))
        if mark is None or state.oid is UNSET or state.oid != oid:
            self._seen.pop(key, None)
            return state
        return replace(state, mark=mark, comment=None, mark_overwritten=True)


def mark_restored(state: DatabaseState | RoleState, *, what: str) -> tuple[Event, ...]:
    """Return the Event about a mark that is put back; `what` is like "role 'x'"."""
    if not state.mark_overwritten:
        return ()
    message = (
        f"The comment of {what}, which says whose it is, was changed by somebody; it "
        "is put back"
    )
    return (Event("Warning", "MarkRestored", message),)
