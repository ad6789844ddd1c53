"""Durations, encodings and time zones as users write them."""

from datetime import timedelta

import pytest

from pg_operator.api.values import (
    SERVER_ENCODINGS,
    encoding_problem,
    parse_duration,
    resync_interval_problem,
    timezone_problem,
)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("5000ms", timedelta(seconds=5)),
    ],
)
def test_duration_is_read_as_go_writes_it(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "10", "10 m", "m", "-5m", "1d", "5m\n", "1.h", "1s" * 17, "\u0661m"]
)
def test_duration_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["5s", "24h", "1h30m"])
def test_resync_interval_is_between_5_seconds_and_a_day(text: str) -> None:
    assert resync_interval_problem(text) is None


@pytest.mark.parametrize("text", ["4999ms", "0s", "24h1s", "999999999h", "soon"])
def test_resync_interval_outside_is_refused(text: str) -> None:
    assert resync_interval_problem(text) is not None


@pytest.mark.parametrize("encoding", SERVER_ENCODINGS)
def test_encoding_of_the_server_is_accepted(encoding: str) -> None:
    assert encoding_problem(encoding) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("UTF-8", "UTF8"),
        ("utf8", "UTF8"),
        ("unicode", "UTF8"),
        ("latin-1", "LATIN1"),
        ("Win_1252", "WIN1252"),
        ("SQLASCII", "SQL_ASCII"),
    ],
)
def test_encoding_in_another_spelling_is_refused_with_the_right_one(
    written: str, meant: str
) -> None:
    problem = encoding_problem(written)
    assert problem is not None
    assert problem.detail.endswith(f'did you mean "{meant}"?')


@pytest.mark.parametrize("written", ["", "SJIS", "x" * 1000])
def test_encoding_that_no_database_has_is_refused(written: str) -> None:
    assert encoding_problem(written) is not None


@pytest.mark.parametrize("name", ["UTC", "Etc/GMT+1", "America/Port-au-Prince"])
def test_timezone_that_may_exist_is_accepted(name: str) -> None:
    assert timezone_problem(name) is None


@pytest.mark.parametrize("name", ["", "UTC'; DROP", "UTC\n", "Zürich", "x" * 64])
def test_timezone_that_cannot_exist_is_refused(name: str) -> None:
    assert timezone_problem(name) is not None
