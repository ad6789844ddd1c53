"""What PostgreSQL says becomes ours, without what it should not have said."""

import psycopg
import pytest
from psycopg.pq import DiagnosticField

from pg_operator.postgres import errors
from pg_operator.postgres.errors import PostgresError
from pg_operator.postgres.translate import translate, translate_connect


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            (
                'connection to server at "10.0.0.7", port 5432 failed: FATAL: '
                ' password authentication failed for user "TOPSECRET"'
            ),
            errors.AuthenticationFailed,
        ),
        (
            'FATAL:  no pg_hba.conf entry for host "10.0.0.7", user "TOPSECRET"',
            errors.AuthenticationFailed,
        ),
        ('FATAL:  role "TOPSECRET" does not exist', errors.AuthenticationFailed),
        ('FATAL:  database "TOPSECRET" does not exist', errors.DatabaseRefused),
        (
            'FATAL:  database "TOPSECRET" is not currently accepting connections',
            errors.DatabaseRefused,
        ),
        (
            'FATAL:  cannot connect to invalid database "TOPSECRET"',
            errors.DatabaseRefused,
        ),
        (
            'FATAL:  permission denied for database "TOPSECRET"',
            errors.DatabaseRefused,
        ),
        ("FATAL:  sorry, too many clients already", errors.ServerRefused),
        (
            "FATAL:  remaining connection slots are reserved for superusers",
            errors.ServerRefused,
        ),
        ('FATAL:  too many connections for role "TOPSECRET"', errors.ServerRefused),
        ("FATAL:  the database system is starting up", errors.ServerRefused),
        ("FATAL:  the database system is shutting down", errors.ServerRefused),
        (
            "FATAL:  unsupported startup parameter: options",
            errors.ServerRefused,
        ),
        (
            "server does not support SSL, but SSL was required",
            errors.ServerUnreachable,
        ),
        (
            "failed to resolve host 'TOPSECRET@db': [Errno -2] Name not known",
            errors.ServerUnreachable,
        ),
        ("FATAL:  Passwort-Authentifizierung TOPSECRET", errors.ServerUnreachable),
        ("", errors.ServerUnreachable),
    ],
)
def test_failed_connect_is_classified_and_not_repeated(
    text: str, kind: type[PostgresError]
) -> None:
    error = translate_connect(psycopg.OperationalError(text))
    assert type(error) is kind
    assert "TOPSECRET" not in str(error)
    assert "10.0.0.7" not in str(error)


def test_reasons_are_fit_for_conditions() -> None:
    kinds: list[type[PostgresError]] = [PostgresError, errors.NotFound]
    kinds += PostgresError.__subclasses__()
    assert all(kind.reason.isalnum() and kind.reason[0].isupper() for kind in kinds)
    assert len({kind.reason for kind in kinds}) == len(kinds)


def failed(sqlstate: str, text: str, *, severity: str = "ERROR") -> psycopg.Error:
    """Return an error as the server of a statement sends it.

    The servers of the tests have no translations; the fields are what others send.
    """
    fields = {
        DiagnosticField.SEVERITY: severity,
        DiagnosticField.SEVERITY_NONLOCALIZED: "ERROR",
        DiagnosticField.SQLSTATE: sqlstate,
        DiagnosticField.MESSAGE_PRIMARY: text,
        DiagnosticField.MESSAGE_DETAIL: "DETAIL of TOPSECRET",
    }
    info = {field: value.encode() for field, value in fields.items()}
    return psycopg.errors.lookup(sqlstate)(text, info=info)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("Rolle »TOPSECRET« existiert nicht", "FEHLER"),
        ("role TOPSECRET gibt es nicht", "FEHLER"),
        ('роль "TOPSECRET" не существует', "ОШИБКА"),
        ("no existe el rol «TOPSECRET»", "ERROR"),
        ('ロール"TOPSECRET"は存在しません', "ERROR"),
        ('role "TOPSECRET" does not exist', "ERROR"),
    ],
)
def test_message_in_any_language_names_nothing_that_was_not_asked_for(
    text: str, severity: str
) -> None:
    error = translate(failed("42704", text, severity=severity), names=("app",))
    assert type(error) is errors.NotFound
    assert "TOPSECRET" not in str(error)


def test_translated_message_gives_way_to_what_its_code_stands_for() -> None:
    error = translate(failed("42501", "keine Berechtigung", severity="FEHLER"))
    assert "insufficient privilege" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "permission denied for table TOPSECRET",
        "must be owner of materialized view TOPSECRET",
        'must be owner of table TOPSECRET"app',
    ],
)
def test_name_without_quotes_is_shown_only_if_it_was_asked_for(text: str) -> None:
    error = failed("42501", text)
    assert "TOPSECRET" not in str(translate(error, names=("app",)))
    assert text in str(translate(error, names=(text.rpartition(" ")[2],)))
