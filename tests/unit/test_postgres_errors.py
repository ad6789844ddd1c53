"""What PostgreSQL says becomes ours, without what it should not have said."""

import psycopg
import pytest

from pg_operator.postgres import errors
from pg_operator.postgres.errors import PostgresError, translate_connect


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
