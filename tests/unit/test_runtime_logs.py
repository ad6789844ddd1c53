"""Log lines say which object they are about."""

import json
import logging
import sys

import pytest

from pg_operator.runtime.logs import (
    JSONFormatter,
    PlainFormatter,
    current_object,
    is_news,
)


def a_record(message: str, *, exception: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if exception else None
    return logging.LogRecord("pg", logging.WARNING, "", 0, message, (), info)


def test_plain_line_names_the_object_that_is_worked_on() -> None:
    token = current_object.set("Database shop/orders")
    line = PlainFormatter().format(a_record("failed"))
    current_object.reset(token)
    assert line.endswith("WARNING pg: [Database shop/orders] failed")


def test_json_line_has_its_fields_and_no_empty_ones() -> None:
    fields = json.loads(JSONFormatter().format(a_record('a "quoted"\nmessage')))
    assert fields.pop("time").startswith("20")
    message = 'a "quoted"\nmessage'
    assert fields == {"level": "warning", "logger": "pg", "message": message}


def test_json_line_holds_the_traceback() -> None:
    try:
        raise ValueError("broken")  # noqa: TRY301 (the traceback is what is wanted)
    except ValueError:
        line = JSONFormatter().format(a_record("failed", exception=True))
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("message", "is_logged"),
    [
        ("Request attempt #1 failed; will retry: GET /x", True),
        ("Request attempt #2 failed; will retry: GET /x", False),
        ("Request attempt #61 failed; will retry: GET /x", True),
        ("anything else", True),
    ],
)
def test_kopfs_retries_are_logged_once_a_minute(
    message: str, *, is_logged: bool
) -> None:
    assert is_news(a_record(message)) is is_logged
