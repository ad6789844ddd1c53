"""What an administrator decides about the controller process."""

from dataclasses import dataclass
from datetime import timedelta

from pg_operator.reconcilers.settings import Settings


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The controller's flags, and the measures that have none.

    `workers` keys are reconciled at a time at most. SIGTERM leaves those that run
    `drain` to finish; cutting off the rest takes up to 10 s more, where a PostgreSQL
    server does not answer. Everything is listed anew about every `relist`, because a
    watch that was interrupted does not tell what was deleted meanwhile. With
    `leader_elect` the process works only while it holds the Lease, as one of several.
    Every server is looked over about every `sweep_interval`.
    """

    reconcilers: Settings
    health_address: tuple[str, int]
    leader_elect: bool = False
    sweep_interval: timedelta = timedelta(minutes=1)
    workers: int = 32
    drain: timedelta = timedelta(seconds=20)
    relist: timedelta = timedelta(minutes=5)
