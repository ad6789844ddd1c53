"""What may go wrong between a client and its API server, each with its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.localcluster.api_proxy import (
    Answer,
    Asked,
    Front,
    cut_at_once,
    cut_midway,
    expire,
    hang,
    lose,
    refuse,
)

ENOUGH: Final = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """How something goes wrong, ends, and whether it was noticed since it began."""

    begin: Callable[[Front], None]
    end: Callable[[Front], None]
    is_met: Callable[[Front], bool] = lambda _: True


def answers(
    which: Callable[[Asked], bool], how: Answer, *, enough: int = ENOUGH
) -> Fault:
    """Answer some requests otherwise, and let watches and lists begin anew."""

    def begin(front: Front) -> None:
        # Every page has one object, so that lists have more than one.
        front.proxy.page = 1
        front.proxy.trouble(which, how)
        front.proxy.drop_watches()

    def end(front: Front) -> None:
        front.proxy.end_trouble()
        front.proxy.page = 0

    return Fault(begin, end, lambda front: front.proxy.met >= enough)


def wire(fault: str) -> Fault:
    """Break the wire; connections are what shows that it was noticed."""
    return Fault(
        lambda front: setattr(front.wire, "fault", fault),
        lambda front: setattr(front.wire, "fault", "none"),
    )


def slow(front: Front) -> None:
    """Let every piece of what is said take its time."""
    front.wire.delay = 0.1


def quick(front: Front) -> None:
    """Let nothing take longer than it must."""
    front.wire.delay = 0.0


def is_any(_: Asked) -> bool:
    """Tell of every request that it is meant."""
    return True


def is_write(asked: Asked) -> bool:
    """Tell whether something is to change."""
    return asked.writes


def is_watch(asked: Asked) -> bool:
    """Tell whether it is a watch."""
    return asked.watches


FAULTS: Final = {
    "refused": wire("refused"),
    "silent": wire("silent"),
    "slow": Fault(slow, quick),
    "cut": Fault(lambda front: front.wire.cut(), lambda front: front.wire.cut()),
    "answers cut midway": answers(lambda a: not a.watches, cut_midway),
    "watches cut as they begin": answers(is_watch, cut_at_once),
    "answers lost": answers(is_write, lose),
    "writes hang": answers(is_write, hang),
    "429": answers(is_any, refuse(429, retry_after=2)),
    "409 at writes": answers(is_write, refuse(409)),
    "410 at watches": answers(is_watch, expire),
    # Each watch is told so once, and then its list.
    "410 between pages": answers(
        lambda a: a.watches or a.continues, expire, enough=3 * ENOUGH
    ),
    "500": answers(is_any, refuse(500)),
    "503": answers(is_any, refuse(503)),
    "half-open": wire("half-open"),
    "watches dropped": Fault(
        lambda front: front.proxy.drop_watches(),
        lambda front: front.proxy.drop_watches(),
    ),
}
