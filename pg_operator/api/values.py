"""Rules for values that are no names: durations, encodings, time zones. Pure."""

import difflib
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from pg_operator.api.errors import Problem

SHORTEST_RESYNC: Final = timedelta(seconds=5)
LONGEST_RESYNC: Final = timedelta(hours=24)
LONGEST_DURATION_TEXT: Final = 32
INFINITY: Final = "infinity"

# pg_wchar.h: the encodings that a database may have (not those of clients only).
SERVER_ENCODINGS: Final = (
    "EUC_CN",
    "EUC_JIS_2004",
    "EUC_JP",
    "EUC_KR",
    "EUC_TW",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "KOI8R",
    "KOI8U",
    *(f"LATIN{number}" for number in range(1, 11)),
    "MULE_INTERNAL",
    "SQL_ASCII",
    "UTF8",
    *(f"WIN{page}" for page in range(1250, 1259)),
    "WIN866",
    "WIN874",
)

_UNITS: Final = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|h|m|s)")
_MOMENT = re.compile(
    r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_TIMEZONE = re.compile(r"[A-Za-z0-9_+/-]{1,63}\Z")
_LOCALE = re.compile(r"[A-Za-z0-9_.@=+-]{1,63}\Z")
_LONGEST_GUESSED: Final = 32


def parse_duration(text: str) -> timedelta:
    """Read a duration written as in Go, such as `10m` or `1h30m`.

    Raises:
        ValueError: the text is not a duration in h, m, s and ms.

    """
    fits = len(text) <= LONGEST_DURATION_TEXT
    parts = list(_DURATION.finditer(text)) if fits else []
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError("not a duration such as 10m, 90s or 1h30m")
    return sum((float(part[1]) * _UNITS[part[2]] for part in parts), timedelta())


def resync_interval_problem(text: str) -> Problem | None:
    """Return why an interval between resyncs is refused."""
    try:
        interval = parse_duration(text)
    except ValueError:
        detail = "must be a duration such as '10m', '90s' or '1h30m'"
        if text.isdecimal() and resync_interval_problem(f"{text}s") is None:
            detail += f"; try '{text}s'"
        return Problem("duration", detail)
    if not SHORTEST_RESYNC <= interval <= LONGEST_RESYNC:
        return Problem("duration-range", "must be between 5s and 24h")
    return None


def parse_valid_until(text: str) -> str:
    """Return when a password ends to be valid, as UTC like 2027-01-31T22:00:00Z.

    Raises:
        ValueError: the text is neither "infinity" nor a date and time with its zone.

    """
    if text == INFINITY:
        return INFINITY
    if not _MOMENT.match(text):
        raise ValueError("not a date and time with a zone")
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def valid_until_problem(text: str) -> Problem | None:
    """Return why the end of a password's validity is refused."""
    try:
        parse_valid_until(text)
    except (ValueError, OverflowError):
        detail = (
            "must be a date and time with its zone, such as '2027-01-31T22:00:00Z', "
            "or 'infinity'"
        )
        for missing in ("T00:00:00Z", "Z"):
            with suppress(ValueError, OverflowError):
                return Problem(
                    "valid-until",
                    f"{detail}; try '{parse_valid_until(text + missing)}'",
                )
        return Problem("valid-until", detail)
    return None


def encoding_problem(text: str) -> Problem | None:
    """Return why an encoding is refused: it must be spelt as the server spells it."""
    if text in SERVER_ENCODINGS:
        return None
    nearest = _nearest_encoding(text)
    hint = f'did you mean "{nearest}"?' if nearest else 'one is "UTF8"'
    detail = f"must be a server encoding of PostgreSQL; {hint}"
    return Problem("encoding", detail, "FieldValueNotSupported")


def locale_problem(text: str) -> Problem | None:
    """Return why a locale is refused; whether it exists, the server knows."""
    if _LOCALE.match(text):
        return None
    detail = "must be the name of a locale, such as 'C.UTF-8', 'en_US.utf8' or 'de-DE'"
    return Problem("locale", detail)


def timezone_problem(text: str) -> Problem | None:
    """Return why a time zone is refused; whether it exists, the server knows."""
    if _TIMEZONE.match(text):
        return None
    detail = "must be the name of a time zone, such as 'UTC' or 'Europe/Berlin'"
    return Problem("timezone", detail)


def _nearest_encoding(text: str) -> str | None:
    if len(text) > _LONGEST_GUESSED:
        return None
    by_letters = {_letters(encoding): encoding for encoding in SERVER_ENCODINGS}
    by_letters["UNICODE"] = "UTF8"
    guesses = difflib.get_close_matches(_letters(text), by_letters, n=1, cutoff=0.75)
    return by_letters[guesses[0]] if guesses else None


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())
