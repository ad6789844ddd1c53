"""The writes that say whose a database or role is. Pure."""

from dataclasses import dataclass

from pg_operator.plan.state import Mark


@dataclass(frozen=True, slots=True)
class MarkDatabase:
    """COMMENT ON DATABASE; None removes the mark and restores `comment`."""

    name: str
    mark: Mark | None
    comment: str | None = None

    def __str__(self) -> str:
        return f"mark database {self.name} {_state(self.mark)}"


@dataclass(frozen=True, slots=True)
class MarkRole:
    """COMMENT ON ROLE; None removes the mark and restores `comment`.

    `fallback` is written instead when a revoke before it was left undone: its scope
    still has what was to be revoked, so that it is tried again.
    """

    name: str
    mark: Mark | None
    comment: str | None = None
    fallback: Mark | None = None

    def __str__(self) -> str:
        return f"mark role {self.name} {_state(self.mark)}"


def _state(mark: Mark | None) -> str:
    return mark.state if mark else "as not ours"
