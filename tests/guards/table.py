"""The table of guards: which text keeps which trap away, and which tests tell."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).parents[2]
TABLES: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Guard:
    """One guard, and how it is taken out.

    `trap` is its number in tests/TRAPS.md, or a word for what is listed there without
    one. `text` occurs once in `file`, `instead` takes its place, and then every one of
    `tests` (node ids below tests/) must fail. `on` is a major version of PostgreSQL;
    empty for the one that the other tiers run on. `hangs` tells that without the guard
    the tests would wait for ever: nothing else is proven by a test that takes too long.
    """

    trap: str
    what: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    on: str = ""
    hangs: bool = False

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The tests as pytest takes them, from the checkout's root."""
        return tuple(f"tests/{test}" for test in self.tests)


@dataclass(frozen=True, slots=True)
class Table:
    """All guards, and why for some traps there is none that can be taken out."""

    guards: tuple[Guard, ...]
    reasons: Mapping[str, str]

    @property
    def traps(self) -> set[str]:
        """What one can ask for."""
        return {guard.trap for guard in self.guards} | self.reasons.keys()

    def of(self, traps: set[str]) -> tuple[Guard, ...]:
        """Return the guards of some traps; of all, if none is named."""
        return tuple(one for one in self.guards if not traps or one.trap in traps)


def read_table(directory: Path = TABLES) -> Table:
    """Read the table from all TOML files of a directory."""
    guards: list[Guard] = []
    reasons: dict[str, str] = {}
    for path in sorted(directory.glob("*.toml")):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        guards += [_guard(entry) for entry in document.get("guard", ())]
        reasons |= {str(one["trap"]): one["why"] for one in document.get("none", ())}
    return Table(tuple(guards), reasons)


def taken_out(guard: Guard, source: str) -> str:
    """Return a file's text without the guard.

    Raises:
        ValueError: the guard is not there once.
    """
    number = source.count(guard.text)
    if number != 1:
        raise ValueError(f"{guard.what}: {number} times in {guard.file}, not once")
    return source.replace(guard.text, guard.instead)


def _guard(entry: Mapping[str, Any]) -> Guard:
    return Guard(
        trap=str(entry["trap"]),
        what=entry["what"],
        file=entry["file"],
        text=entry["guard"],
        instead=entry["instead"],
        tests=tuple(entry["tests"]),
        on=entry.get("on", ""),
        hangs=entry.get("hangs", False),
    )
