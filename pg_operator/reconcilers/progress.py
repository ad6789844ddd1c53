"""The three answers a reconcile can give, as conditions that kstatus understands."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from pg_operator.api.conditions import Condition, Reason
from pg_operator.plan.state import Pending
from pg_operator.reconcilers.outcome import Event, Object, Outcome

LOOK_AGAIN: Final = timedelta(seconds=15)


class Blocked(Exception):
    """The object cannot be worked on now; says why, for its Ready condition.

    A `terminal` one needs its author to act; the others carry on by themselves, when
    they are woken or after `requeue_after`.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        terminal: bool = False,
        requeue_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.terminal = terminal
        self.requeue_after = requeue_after

    def outcome(self, obj: Object) -> Outcome:
        """Return the conditions, with an Event when the reason is a new one."""
        conditions = (
            stalled(self.reason, self.message)
            if self.terminal
            else waiting(self.reason, self.message)
        )
        return Outcome(
            conditions=conditions,
            requeue_after=self.requeue_after,
            events=warn_once(obj, self.reason, self.message),
        )


def ready(message: str) -> tuple[Condition, ...]:
    """Everything declared is true."""
    return (Condition("Ready", "True", Reason.RECONCILED, message),)


def waiting(reason: Reason, message: str) -> tuple[Condition, ...]:
    """Something is not true yet; the operator goes on by itself."""
    return (
        Condition("Ready", "False", reason, message),
        Condition("Reconciling", "True", reason, message),
    )


def stalled(reason: Reason, message: str) -> tuple[Condition, ...]:
    """Something cannot become true until somebody changes the object."""
    return (
        Condition("Ready", "False", reason, message),
        Condition("Stalled", "True", reason, message),
    )


def condition(obj: Object, kind: str) -> dict[str, Any]:
    """Return the stored condition of that type, or an empty one."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((stored for stored in conditions if stored["type"] == kind), {})


def is_current(obj: Object) -> bool:
    """Tell whether the status says Ready for the generation that is stored."""
    return condition(obj, "Ready").get("status") == "True" and _is_observed(obj)


def says(obj: Object, reason: Reason) -> bool:
    """Tell whether that is why the generation that is stored is not Ready."""
    return condition(obj, "Ready").get("reason") == reason and _is_observed(obj)


def _is_observed(obj: Object) -> bool:
    observed = obj["status"].get("observedGeneration")
    return bool(observed == obj["metadata"]["generation"])


def warn_once(obj: Object, reason: Reason, message: str) -> tuple[Event, ...]:
    """Return a Warning unless the stored Ready condition already says so."""
    if condition(obj, "Ready").get("reason") == reason:
        return ()
    return (Event("Warning", reason, message),)


def partially_applied(
    obj: Object,
    pending: Sequence[Pending],
    *,
    status: Mapping[str, Any],
    events: Sequence[Event] = (),
) -> Outcome:
    """Most is true; name what is not, and look again soon.

    Nothing wakes an object when a table appears on the server, so it is asked for.
    """
    message = "; ".join(f"{part.path}: {part.message}" for part in pending[:5])
    if len(pending) > 5:
        message += f"; and {len(pending) - 5} more"
    warnings = warn_once(obj, Reason.PARTIALLY_APPLIED, message)
    return Outcome(
        conditions=waiting(Reason.PARTIALLY_APPLIED, message),
        status=status,
        events=(*events, *warnings),
        requeue_after=LOOK_AGAIN,
    )
