"""A plan as the SQL that would be sent, for people to read, without what is secret.

The statements are `render`'s, with words in the place of passwords and comments. Not
shown are the locks around them, nor the looks before and after.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pg_operator.api.secret import REDACTED
from pg_operator.plan.batches import Plan
from pg_operator.plan.operations import MarkDatabase, MarkRole, Operation
from pg_operator.plan.state import Mark, Password, Server
from pg_operator.postgres.render import render

MARK: Final = "<mark>"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; without a `database` it runs in the DSN's own.

    `is_mark` tells that it only writes down whose the database or role is.
    """

    sql: str
    database: str | None = None
    is_mark: bool = False


class _NoKeys:
    """Stands in for the keys: a sealed mark says nothing, and differs each time."""

    def seal(self, mark: Mark, *, on: str) -> str:  # noqa: ARG002 (a keyring's own)
        return MARK


def render_script(plan: Plan, *, server: Server) -> tuple[Statement, ...]:
    """Return the statements of a plan in their order.

    Raises:
        Rejected: a name or value that cannot be sent.
    """
    return tuple(_statements(plan, server))


def _statements(plan: Plan, server: Server) -> Iterator[Statement]:
    for batch in plan.batches():
        for operation in batch.operations:
            statement = render(
                _redacted(operation),
                server=server,
                keyring=_NoKeys(),
                verifier=_hide_verifier,
            )
            is_mark = isinstance(operation, MarkDatabase | MarkRole)
            yield Statement(statement.as_string(), batch.database, is_mark)


def _hide_verifier(_: Password, __: str) -> str:
    return REDACTED


def _redacted(operation: Operation) -> Operation:
    """Hide a comment of somebody else, which is put back when a mark goes."""
    if isinstance(operation, MarkDatabase | MarkRole) and operation.comment:
        return replace(operation, comment=REDACTED)
    return operation
