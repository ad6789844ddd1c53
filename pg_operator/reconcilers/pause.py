"""The annotation by which people hold one object, or all of a DatabaseCluster."""

import enum
from dataclasses import dataclass
from typing import Final

from pg_operator.api.conditions import Condition, Reason
from pg_operator.api.specs import GROUP
from pg_operator.reconcilers.outcome import Key, Object, Objects, annotation_of

RECONCILE_ANNOTATION: Final = f"{GROUP}/reconcile"


class Mode(enum.StrEnum):
    """What is done for a held object; the values are those of the annotation."""

    PAUSED = "Paused"
    PLAN = "Plan"


@dataclass(frozen=True, slots=True)
class Pause:
    """How an object is held, and the annotation that says so."""

    mode: Mode
    annotation: str

    @property
    def reason(self) -> Reason:
        """The reason that conditions give."""
        return Reason.PAUSED if self.mode is Mode.PAUSED else Reason.PLANNED


def pause_of(obj: Object, *, place: str = "") -> Pause | None:
    """Return how an object is held by its own annotation; `place` says where that is.

    A value that nobody knows is taken for the careful one.
    """
    value = annotation_of(obj, RECONCILE_ANNOTATION)
    if value is None:
        return None
    annotation = f"annotation {RECONCILE_ANNOTATION}{place}"
    if value in {*Mode}:
        return Pause(Mode(value), f"{annotation} is {value}")
    hint = f"{annotation} is neither Paused nor Plan, and counts as Paused"
    return Pause(Mode.PAUSED, hint)


def find_pause(objects: Objects, obj: Object) -> Pause | None:
    """Return how a Database or DatabaseRole is held: the careful way, of two."""
    own = pause_of(obj)
    try:
        name = obj["spec"]["databaseClusterRef"]["name"]
        cluster = objects.get(Key("DatabaseCluster", "", name))
    except (KeyError, TypeError):
        return own  # it says of no server that anybody could hold
    place = f" of DatabaseCluster '{name}'"
    other = None if cluster is None else pause_of(cluster, place=place)
    held = [pause for pause in (own, other) if pause is not None]
    careful = [pause for pause in held if pause.mode is Mode.PAUSED]
    return next(iter((*careful, *held)), None)


def paused_condition(pause: Pause) -> Condition:
    """Say that an object is held, and by what."""
    return Condition("Paused", "True", pause.reason, pause.annotation)
