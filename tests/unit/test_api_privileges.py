"""The word table, and what is said to words that are not in it."""

import pytest

from pg_operator.api.privileges import (
    PRIVILEGES,
    ObjectKind,
    expand_all,
    explain_unsupported,
    find_privilege,
    words,
)

PG16 = 160014
PG17 = 170000


def test_words_are_those_that_postgresql_grants() -> None:
    assert words("database") == ("CONNECT", "CREATE", "TEMPORARY", "ALL")
    assert words("schema") == ("CREATE", "USAGE", "ALL")
    assert set(words("table")) == {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "REFERENCES",
        "TRIGGER",
        "MAINTAIN",
        "ALL",
    }


@pytest.mark.parametrize("kind", list(PRIVILEGES))
def test_letters_tell_the_words_of_an_object_kind_apart(kind: ObjectKind) -> None:
    letters = [privilege.letter for privilege in PRIVILEGES[kind]]
    assert len(set(letters)) == len(letters)


def test_all_means_what_the_server_knows() -> None:
    assert "MAINTAIN" not in expand_all("table", PG16)
    assert expand_all("table", PG17) - expand_all("table", PG16) == {"MAINTAIN"}
    assert expand_all("schema", PG16) == {"CREATE", "USAGE"}


def test_all_is_no_privilege_of_its_own() -> None:
    assert find_privilege("table", "ALL") is None


@pytest.mark.parametrize(
    ("kind", "written", "hint"),
    [
        ("table", "SELCT", 'did you mean "SELECT"?'),
        ("table", "select", 'did you mean "SELECT"?'),
        ("table", " select ", 'did you mean "SELECT"?'),
        ("database", "TEMP", 'did you mean "TEMPORARY"?'),
        ("database", "temp", 'did you mean "TEMPORARY"?'),
        ("table", "all privileges", 'did you mean "ALL"?'),
        (
            "schema",
            "SELECT",
            '"SELECT" is a table privilege: put it under tables[].privileges',
        ),
        (
            "table",
            "USAGE",
            '"USAGE" is a schema privilege: put it under schemas[].privileges',
        ),
        (
            "schema",
            "SELCT",
            (
                'did you mean the table privilege "SELECT"? '
                "put it under tables[].privileges"
            ),
        ),
        (
            "table",
            "connect",
            (
                'did you mean the database privilege "CONNECT"? '
                "put it under permissions[].privileges"
            ),
        ),
        (
            "schema",
            "execute",
            (
                'did you mean the function privilege "EXECUTE"? '
                "put it under functions[].privileges"
            ),
        ),
        (
            "table",
            "SELECT, insert",
            'write one word per list item: "SELECT", "INSERT"',
        ),
    ],
)
def test_unsupported_word_is_answered_with_what_was_meant(
    kind: ObjectKind, written: str, hint: str
) -> None:
    assert explain_unsupported(kind, written).endswith(f'"ALL"; {hint}')


@pytest.mark.parametrize("written", ["", "*", "x" * 1000, "a, b", "\x00"])
def test_unsupported_word_like_no_other_is_answered_with_the_words(
    written: str,
) -> None:
    assert explain_unsupported("schema", written) == (
        'supported values: "CREATE", "USAGE", "ALL"'
    )
