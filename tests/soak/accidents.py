"""What befalls the operator in a soak, while people go on working.

Each accident is a context that says what it is; it is over, or mended, after the block.
A controller that has ended is started again by who keeps it running.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Event
from typing import Final

import psycopg

from tests.cluster.objects import administer
from tests.localcluster.api_faults import FAULTS
from tests.localcluster.faults import Accident, Fault
from tests.soak.actions import Candidate, Scene, work

# In seconds; others lead after 15 without a renewal.
LONGEST: Final = 25.0
LONGEST_IN_ONE_TERM: Final = 4.0
MOST_WORK: Final = 3
# However short these are, a leader may lose its term, or Kopf end its process.
ENDING_FAULTS: Final = ("half-open", "410 between pages")
CALM_FAULTS: Final = tuple(name for name in FAULTS if name not in ENDING_FAULTS)
WIRE_FAULTS: Final[tuple[Fault, ...]] = ("refused", "silent", "half-open")
WORDS: Final = (b"CREATE", b"COMMENT", b"ALTER", b"GRANT", b"REVOKE", b"DROP")
CUTS: Final[tuple[Accident, ...]] = ("cut before", "cut after")


def suffer(scene: Scene, *, in_one_term: bool) -> str:
    """Have an accident or two, with work meanwhile; return what they were.

    In one term none of them ends a process, or keeps a leader from its renewals for
    long.
    """
    chance = scene.model.chance
    weights = CALM if in_one_term else ROUGH
    chosen = chance.choices(
        list(weights), weights=list(weights.values()), k=chance.choice((1, 1, 1, 2))
    )
    longest = LONGEST_IN_ONE_TERM if in_one_term else LONGEST
    with ExitStack() as stack:
        suffered = [
            stack.enter_context(accident(scene)) for accident in dict.fromkeys(chosen)
        ]
        work(scene, chance.randint(0, MOST_WORK))
        # Mostly short, sometimes long enough for another leader.
        Event().wait(longest * chance.random() ** 2)
    return ", ".join(suffered)


@contextmanager
def killed_controller(scene: Scene) -> Iterator[str]:
    """Kill the leader, or the one that waits."""
    one = _candidate(scene)
    one.process.kill()
    yield f"{one.name} killed"


@contextmanager
def ended_controller(scene: Scene) -> Iterator[str]:
    """Have the leader end, or the one that waits."""
    one = _candidate(scene)
    one.process.stop()
    yield f"{one.name} ended"


@contextmanager
def frozen_controller(scene: Scene) -> Iterator[str]:
    """Stop the leader, or the one that waits, in the middle of whatever it does."""
    one = _candidate(scene)
    one.process.freeze()
    try:
        yield f"{one.name} frozen"
    finally:
        one.process.thaw()


@contextmanager
def led_astray(scene: Scene) -> Iterator[str]:
    """Have something wrong between one controller and the API server."""
    with _led_astray(scene, tuple(FAULTS)) as what:
        yield what


@contextmanager
def briefly_astray(scene: Scene) -> Iterator[str]:
    """Have something wrong there that a leader outlasts."""
    with _led_astray(scene, CALM_FAULTS) as what:
        yield what


@contextmanager
def _led_astray(scene: Scene, faults: Sequence[str]) -> Iterator[str]:
    name = scene.model.chance.choice(faults)
    one = _candidate(scene)
    FAULTS[name].begin(one.front)
    try:
        yield f"{one.name}'s API server: {name}"
    finally:
        FAULTS[name].end(one.front)


@contextmanager
def killed_api_server(scene: Scene) -> Iterator[str]:
    """Kill the API server, and start it again."""
    scene.bed.control_plane.kill_api_server()
    _pause(scene)
    scene.bed.control_plane.start_api_server()
    yield "API server killed"


@contextmanager
def killed_webhook(scene: Scene) -> Iterator[str]:
    """Kill the webhook, and start it again."""
    scene.bed.webhook.kill()
    _pause(scene)
    scene.bed.webhook.start()
    yield "webhook killed"


@contextmanager
def ended_webhook(scene: Scene) -> Iterator[str]:
    """Have the webhook end, and start it again."""
    scene.bed.webhook.restart()
    yield "webhook ended"


@contextmanager
def lost_server(scene: Scene) -> Iterator[str]:
    """Stop the server without grace."""
    scene.bed.postgres.stop()
    try:
        yield "server lost"
    finally:
        scene.bed.postgres.start()


@contextmanager
def broken_wire(scene: Scene) -> Iterator[str]:
    """Have something wrong between the controllers and the server."""
    scene.wire.fault = fault = scene.model.chance.choice(WIRE_FAULTS)
    try:
        yield f"wire: {fault}"
    finally:
        scene.wire.fault = "none"


@contextmanager
def slow_wire(scene: Scene) -> Iterator[str]:
    """Let every piece of what is said to the server take its time."""
    scene.wire.delay = 0.1
    try:
        yield "wire: slow"
    finally:
        scene.wire.delay = 0.0


@contextmanager
def cut_statement(scene: Scene) -> Iterator[str]:
    """Cut the wire at the next statement with some word, before or after it."""
    chance = scene.model.chance
    word, accident = chance.choice(WORDS), chance.choice(CUTS)
    scene.wire.at(word, accident)
    yield f"wire: {accident} {word.decode()}"


@contextmanager
def cut_sessions(scene: Scene) -> Iterator[str]:
    """End every session of the operator's on the server."""
    with suppress(psycopg.OperationalError):  # it is away itself
        administer(
            scene.bed,
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'pgop_admin'",
        )
    yield "sessions cut"


def _candidate(scene: Scene) -> Candidate:
    return scene.model.chance.choice(scene.candidates)


def _pause(scene: Scene) -> None:
    Event().wait(scene.model.chance.uniform(0, 1))


Mishap = Callable[[Scene], AbstractContextManager[str]]
CALM: Final[Mapping[Mishap, int]] = {
    frozen_controller: 2,
    briefly_astray: 6,
    lost_server: 2,
    broken_wire: 3,
    slow_wire: 1,
    cut_statement: 4,
    cut_sessions: 1,
}
ROUGH: Final[Mapping[Mishap, int]] = {
    killed_controller: 4,
    ended_controller: 4,
    frozen_controller: 4,
    led_astray: 6,
    killed_api_server: 1,
    killed_webhook: 1,
    ended_webhook: 1,
    lost_server: 2,
    broken_wire: 3,
    slow_wire: 1,
    cut_statement: 4,
    cut_sessions: 1,
}
