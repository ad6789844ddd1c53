"""The only table of privilege words: which there are on what, since which server. Pure.

The words and letters are those of PostgreSQL's GRANT and of its ACL text.
"""

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ObjectKind = Literal[
    "database", "schema", "table", "column", "sequence", "function", "type"
]
ALL: Final = "ALL"


@dataclass(frozen=True, slots=True)
class Privilege:
    """A word of GRANT, its letter in an ACL, and the first server that knows it.

    `since` counts like server_version_num; 0 means every supported server.
    """

    word: str
    letter: str
    since: int = 0


PRIVILEGES: Final[Mapping[ObjectKind, tuple[Privilege, ...]]] = MappingProxyType(
    {
        "database": (
            Privilege("CONNECT", "c"),
            Privilege("CREATE", "C"),
            Privilege("TEMPORARY", "T"),
        ),
        "schema": (
            Privilege("CREATE", "C"),
            Privilege("USAGE", "U"),
        ),
        "table": (
            Privilege("SELECT", "r"),
            Privilege("INSERT", "a"),
            Privilege("UPDATE", "w"),
            Privilege("DELETE", "d"),
            Privilege("TRUNCATE", "D"),
            Privilege("REFERENCES", "x"),
            Privilege("TRIGGER", "t"),
            Privilege("MAINTAIN", "m", since=170000),
        ),
        "column": (
            Privilege("SELECT", "r"),
            Privilege("INSERT", "a"),
            Privilege("UPDATE", "w"),
            Privilege("REFERENCES", "x"),
        ),
        "sequence": (
            Privilege("USAGE", "U"),
            Privilege("SELECT", "r"),
            Privilege("UPDATE", "w"),
        ),
        "function": (Privilege("EXECUTE", "X"),),
        "type": (Privilege("USAGE", "U"),),
    }
)

# Where in `permissions` the words of an object kind are written.
WRITTEN_UNDER: Final[Mapping[ObjectKind, str]] = MappingProxyType(
    {
        "database": "permissions[].privileges",
        "schema": "schemas[].privileges",
        "table": "tables[].privileges",
        "column": "columns[].privileges",
        "sequence": "sequences[].privileges",
        "function": "functions[].privileges",
        "type": "types[].privileges",
    }
)

_SYNONYMS: Final = MappingProxyType({"TEMP": "TEMPORARY", "ALL PRIVILEGES": ALL})
_LONGEST_EXPLAINED: Final = 128
_LONGEST_GUESSED: Final = 32


def words(kind: ObjectKind) -> tuple[str, ...]:
    """Return the words that may be written for an object kind, `ALL` last."""
    return (*(privilege.word for privilege in PRIVILEGES[kind]), ALL)


def find_privilege(kind: ObjectKind, word: str) -> Privilege | None:
    """Return the privilege behind a canonical word; None for `ALL` and unknown ones."""
    return next((p for p in PRIVILEGES[kind] if p.word == word), None)


def expand_all(kind: ObjectKind, server_version: int) -> frozenset[str]:
    """Return the words that `ALL` means on a server of that version."""
    return frozenset(
        privilege.word
        for privilege in PRIVILEGES[kind]
        if privilege.since <= server_version
    )


def explain_unsupported(kind: ObjectKind, written: str) -> str:
    """Say which words an object kind has, and what the writer most likely meant."""
    supported = ", ".join(f'"{word}"' for word in words(kind))
    hint = _hint(kind, written) if len(written) <= _LONGEST_EXPLAINED else None
    return f"supported values: {supported}" + (f"; {hint}" if hint else "")


# One misspelling tends to stand in many places, and guessing takes its time.
@functools.lru_cache(maxsize=256)
def _hint(kind: ObjectKind, written: str) -> str | None:
    several = [_canonical(part) for part in re.split(r"[\s,]+", written.strip())]
    if len(several) > 1 and all(_kinds(word) for word in several):
        items = ", ".join(f'"{word}"' for word in several)
        return f"write one word per list item: {items}"
    word = _nearest(kind, written)
    if word is None:
        return None
    if word in words(kind):
        return f'did you mean "{word}"?'
    other = _kinds(word)[0]
    place = f"put it under {WRITTEN_UNDER[other]}"
    if word == written:
        return f'"{word}" is a {other} privilege: {place}'
    return f'did you mean the {other} privilege "{word}"? {place}'


def _canonical(written: str) -> str:
    upper = " ".join(written.upper().split())
    return _SYNONYMS.get(upper, upper)


def _kinds(word: str) -> list[ObjectKind]:
    return [kind for kind in PRIVILEGES if word in words(kind)]


def _nearest(kind: ObjectKind, written: str) -> str | None:
    """Return the canonical word nearest to what was written, of this kind first."""
    if len(written) > _LONGEST_GUESSED:
        return None
    word = _canonical(written)
    if _kinds(word):
        return word
    everywhere = [known for known_kind in PRIVILEGES for known in words(known_kind)]
    for known in (words(kind), everywhere):
        if guesses := difflib.get_close_matches(word, known, n=1, cutoff=0.75):
            return guesses[0]
    return None
