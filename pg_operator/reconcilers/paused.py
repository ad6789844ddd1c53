"""What is said of objects that an annotation holds, and of those that only plan."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pg_operator.api.conditions import Condition, Reason
from pg_operator.postgres.errors import PostgresError
from pg_operator.reconcilers.context import RELEASE_ANNOTATION, Context
from pg_operator.reconcilers.outcome import Key, Object, Outcome, is_deleting
from pg_operator.reconcilers.pause import Pause, paused_condition
from pg_operator.reconcilers.planning import Draft, plan_object
from pg_operator.reconcilers.progress import Blocked, is_current, stalled
from pg_operator.reconcilers.reach import unavailable
from pg_operator.reconcilers.references import SERVER_LOST, reason_of

# What a status has room for; `pg-operator plan` shows the rest.
MOST_STATEMENTS_SHOWN: Final = 64
LONGEST_STATEMENT_SHOWN: Final = 2048
MOST_PENDING_TOLD: Final = 5


def paused_outcome(obj: Object, pause: Pause) -> Outcome:
    """Leave everything as it is; what was Ready stays so until its spec changes."""
    waits = "its deletion" if is_deleting(obj) else "what its spec says"
    message = f"{pause.annotation}: nothing is done, and {waits} waits"
    return _held(obj, pause, message, is_true=True)


async def reconcile_planned(
    context: Context, key: Key, obj: Object, pause: Pause
) -> Outcome:
    """Say in the status what would be done, and do nothing."""
    try:
        draft = await plan_object(context, key, obj)
    except Blocked as reason:
        blocked = reason
    except SERVER_LOST:
        cluster = obj["spec"]["databaseClusterRef"]["name"]
        context.servers.lost(cluster)
        blocked = unavailable(cluster)
    except PostgresError as error:
        blocked = Blocked(reason_of(error), str(error))
        return replace(planned_nothing(obj, pause, blocked), retry=True)
    else:
        return planned_outcome(obj, pause, draft)
    return planned_nothing(obj, pause, blocked)


def planned_outcome(obj: Object, pause: Pause, draft: Draft) -> Outcome:
    """Store what would be done, as far as there is room."""
    message = f"{pause.annotation}: {_summary(draft)}"
    is_true = not (draft.changes or draft.pending or draft.refused)
    outcome = _held(obj, pause, message, is_true=is_true)
    return replace(outcome, status={"plan": _status(draft)})


def planned_nothing(obj: Object, pause: Pause, blocked: Blocked) -> Outcome:
    """Say why nothing would be done."""
    message = f"{pause.annotation}: nothing would be done: {blocked.message}"
    # An outage says nothing about what was true before.
    is_true = blocked.reason is Reason.CLUSTER_UNAVAILABLE
    return _held(obj, pause, message, is_true=is_true)


def _held(obj: Object, pause: Pause, message: str, *, is_true: bool) -> Outcome:
    """Keep Ready for what is true as it was; the rest needs a person."""
    if is_deleting(obj):
        message += (
            ". To let the object go and leave the server as it is, annotate it with "
            f"{RELEASE_ANNOTATION}=true"
        )
    conditions = stalled(pause.reason, message)
    if is_true and is_current(obj) and not is_deleting(obj):
        conditions = (Condition("Ready", "True", pause.reason, message),)
    return Outcome(conditions=(*conditions, paused_condition(pause)))


def _summary(draft: Draft) -> str:
    count, marks = draft.changes, len(draft.statements) - draft.changes
    told = f"{count} statements would be run" if count else "nothing would be run"
    if marks:
        told += f", besides writing {'a mark' if marks == 1 else f'{marks} marks'}"
    if draft.statements:
        told += "; status.plan lists them"
    if draft.refused is not None:
        told += f"; nothing else would be: {draft.refused.message}"
    pending = [f"{one.path}: {one.message}" for one in draft.pending]
    if pending:
        told += f"; pending: {'; '.join(pending[:MOST_PENDING_TOLD])}"
    if len(pending) > MOST_PENDING_TOLD:
        told += f"; and {len(pending) - MOST_PENDING_TOLD} more"
    return told


def _status(draft: Draft) -> dict[str, Any]:
    shown = draft.statements[:MOST_STATEMENTS_SHOWN]
    return {
        "statements": draft.changes,
        "sql": [_entry(one.database, _shortened(one.sql)) for one in shown],
    }


def _entry(database: str | None, statement: str) -> Mapping[str, str]:
    place = {} if database is None else {"database": database}
    return {**place, "statement": statement}


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_STATEMENT_SHOWN:
        return text
    return text[: LONGEST_STATEMENT_SHOWN - 1] + "…"
