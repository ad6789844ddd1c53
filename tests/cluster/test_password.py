"""A role's password is its Secret's, at once, and is written nowhere else."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.cluster.objects import (
    administer,
    connect_cluster,
    database_role,
    documents,
    login,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

SECRET = "the-password"
PATIENCE = 60
# Everybody may connect to it.
OPEN_DATABASE = "postgres"


def can_log_in(cluster: LocalCluster, user: str, password: str) -> bool:
    """Tell whether a role logs in with a password; other failures are raised."""
    try:
        login(cluster, user=user, password=password, dbname=OPEN_DATABASE).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
    return True


def declare_role(kubectl: Kubectl, namespace: str, **spec: Any) -> str:
    """Apply a DatabaseRole with a password; return its PostgreSQL name."""
    name = f"{namespace}-r"
    spec = {"password": {"name": SECRET}, **spec}
    kubectl.apply(documents(database_role(name, namespace, **spec)))
    return f"{namespace}_r"


def ready(kubectl: Kubectl, namespace: str) -> Mapping[str, str]:
    """Return the Ready condition of the role, as far as there is one."""
    status = kubectl.get("databaserole", f"{namespace}-r").get("status", {})
    found = {c["type"]: c for c in status.get("conditions", ())}
    condition: Mapping[str, str] = found.get("Ready", {})
    return condition


def await_reason(kubectl: Kubectl, namespace: str, reason: str) -> str:
    """Wait for a reason of the Ready condition; return its message."""
    assert wait_until(
        lambda: ready(kubectl, namespace).get("reason") == reason, timeout=PATIENCE
    ), ready(kubectl, namespace)
    return ready(kubectl, namespace)["message"]


def raw_secret(data: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the password's Secret with any bytes in it."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "data": encoded,
    }


def store(kubectl: Kubectl, data: Mapping[str, bytes]) -> None:
    """Replace the Secret's whole content."""
    kubectl.run("replace", "--filename=-", input=documents(raw_secret(data)))


@pytest.fixture
def user(cluster: LocalCluster, kubectl: Kubectl, namespace: str) -> str:
    """A role with password "first-one", Ready; its PostgreSQL name."""
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(password_secret(SECRET, "first-one")))
    name = declare_role(kubectl, namespace)
    kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready")
    return name


def test_changed_password_works_and_the_old_one_fails(
    cluster: LocalCluster, kubectl: Kubectl, user: str
) -> None:
    assert can_log_in(cluster, user, "first-one")

    kubectl.apply(documents(password_secret(SECRET, "second-one")))
    assert wait_until(lambda: can_log_in(cluster, user, "second-one"), timeout=PATIENCE)
    assert not can_log_in(cluster, user, "first-one")

    # Back again: it is not the first one that is remembered.
    kubectl.apply(documents(password_secret(SECRET, "first-one")))
    assert wait_until(lambda: can_log_in(cluster, user, "first-one"), timeout=PATIENCE)
    assert not can_log_in(cluster, user, "second-one")


def test_password_changed_while_the_operator_was_away_is_set(
    cluster: LocalCluster, kubectl: Kubectl, user: str
) -> None:
    cluster.controller.stop()
    try:
        kubectl.apply(documents(password_secret(SECRET, "second-one")))
    finally:
        cluster.controller.start()
    assert wait_until(lambda: can_log_in(cluster, user, "second-one"), timeout=PATIENCE)
    assert not can_log_in(cluster, user, "first-one")


def test_role_waits_for_a_secret_that_comes_later(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    user = declare_role(kubectl, namespace)
    message = await_reason(kubectl, namespace, "SecretNotFound")
    assert SECRET in message
    assert (
        administer(
            cluster, OPEN_DATABASE, f"SELECT FROM pg_roles WHERE rolname = '{user}'"
        )
        == []
    )

    kubectl.apply(documents(password_secret(SECRET, "late-comer")))
    kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready")
    assert can_log_in(cluster, user, "late-comer")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param({"other": b"x"}, "SecretKeyNotFound", id="no-such-key"),
        pytest.param({"password": b""}, "InvalidPassword", id="empty"),
        pytest.param({"password": b"\xff\xfe"}, "InvalidPassword", id="not-utf-8"),
        pytest.param({"password": b"a\0b"}, "InvalidPassword", id="nul"),
    ],
)
def test_unusable_secret_is_said_and_the_old_password_stays(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    user: str,
    data: Mapping[str, bytes],
    reason: str,
) -> None:
    store(kubectl, data)
    message = await_reason(kubectl, namespace, reason)
    assert "spec.password" in message
    assert SECRET in message
    assert can_log_in(cluster, user, "first-one")

    store(kubectl, {"password": b"good again"})
    kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready")
    assert can_log_in(cluster, user, "good again")


def test_deleted_secret_leaves_password_and_grants(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, user: str
) -> None:
    kubectl.run("delete", "secret", SECRET)
    await_reason(kubectl, namespace, "SecretNotFound")
    assert can_log_in(cluster, user, "first-one")

    # The rest of the spec is still followed.
    kubectl.apply(
        documents(
            database_role(
                f"{namespace}-r",
                namespace,
                password={"name": SECRET},
                connectionLimit=7,
            )
        )
    )
    limit = f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'"
    assert wait_until(
        lambda: administer(cluster, OPEN_DATABASE, limit) == [(7,)], timeout=PATIENCE
    )
    assert can_log_in(cluster, user, "first-one")

    kubectl.apply(documents(password_secret(SECRET, "second-one")))
    kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready")
    assert can_log_in(cluster, user, "second-one")


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        pytest.param(b"""it's "quoted" \\ $$ %s {} ;--""", "", id="quotes"),
        pytest.param(b"  spaces kept  ", "", id="spaces"),
        pytest.param("pä§§wörd 密码 🐘".encode(), "", id="unicode"),
        # SASLprep (RFC 4013): a soft hyphen is nothing, a ligature its letters.
        pytest.param("I\u00adX \ufb01n".encode(), "IX fin", id="saslprep"),
        pytest.param(b"x" * 200, "", id="long"),
        # Taken as it is: a pod with the Secret as a variable logs in with it.
        pytest.param(b"newline\n", "", id="trailing-newline"),
        pytest.param(b"md5" + b"0" * 32, "", id="like-md5"),
        pytest.param(
            b"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$"
            b"hKtcHUGnPAi0I8NkBfgKCJCsTvTjjEOFHRo6VGHdqG8=:"
            b"hKtcHUGnPAi0I8NkBfgKCJCsTvTjjEOFHRo6VGHdqG8=",
            "",
            id="like-scram",
        ),
    ],
)
def test_any_text_is_a_password(
    cluster: LocalCluster,
    kubectl: Kubectl,
    namespace: str,
    user: str,
    stored: bytes,
    typed: str,
) -> None:
    store(kubectl, {"password": stored})
    text = typed or stored.decode()
    assert wait_until(lambda: can_log_in(cluster, user, text), timeout=PATIENCE)
    assert not can_log_in(cluster, user, "first-one")
    verifiers = administer(
        cluster,
        OPEN_DATABASE,
        f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'",
    )
    assert verifiers[0][0].startswith("SCRAM-SHA-256$")
    assert text not in verifiers[0][0]


def test_newline_at_the_end_of_a_password_is_told(
    kubectl: Kubectl, namespace: str, user: str
) -> None:
    """Where `echo` left it behind by mistake, someone will wonder why logins fail."""
    assert user
    store(kubectl, {"password": b"by echo\n"})
    assert wait_until(
        lambda: "newline" in ready(kubectl, namespace)["message"], timeout=PATIENCE
    )
    assert ready(kubectl, namespace)["status"] == "True"


def test_password_under_another_key_is_followed(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, user: str
) -> None:
    store(kubectl, {"password": b"first-one", "next": b"second-one"})
    declare_role(kubectl, namespace, password={"name": SECRET, "key": "next"})
    assert wait_until(lambda: can_log_in(cluster, user, "second-one"), timeout=PATIENCE)
    assert not can_log_in(cluster, user, "first-one")


def test_unchanged_password_is_not_set_again(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, user: str
) -> None:
    verifier = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"
    before = administer(cluster, OPEN_DATABASE, verifier)

    declare_role(kubectl, namespace, connectionLimit=3)
    limit = f"SELECT rolconnlimit FROM pg_roles WHERE rolname = '{user}'"
    assert wait_until(
        lambda: administer(cluster, OPEN_DATABASE, limit) == [(3,)], timeout=PATIENCE
    )
    # A new salt would make another verifier.
    assert administer(cluster, OPEN_DATABASE, verifier) == before


def test_password_shows_nowhere(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    secrets = [f"quite-secret-{namespace}-{number}" for number in range(4)]
    logs = {
        log: log.stat().st_size
        for log in (
            cluster.logs / "controller.log",
            cluster.logs / "webhook.log",
            cluster.postgres.log,
        )
    }
    with everything_logged(cluster):
        connect_cluster(cluster, kubectl, namespace)
        kubectl.apply(documents(password_secret(SECRET, secrets[0])))
        user = declare_role(kubectl, namespace)
        kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready")

        store(kubectl, {"password": secrets[1].encode()})
        assert wait_until(
            lambda: can_log_in(cluster, user, secrets[1]), timeout=PATIENCE
        )
        # What fails is told and logged as well, and must be as silent.
        store(kubectl, {"password": secrets[2].encode() + b"\0"})
        assert "NUL" in await_reason(kubectl, namespace, "InvalidPassword")
        store(kubectl, {"other": secrets[2].encode()})
        await_reason(kubectl, namespace, "SecretKeyNotFound")
        store(kubectl, {"password": secrets[2].encode() + b"\xff"})
        assert "UTF-8" in await_reason(kubectl, namespace, "InvalidPassword")
        with admin_crippled(cluster):
            store(kubectl, {"password": secrets[3].encode()})
            assert wait_until(
                lambda: (
                    ready(kubectl, namespace)["reason"]
                    not in {"InvalidPassword", "Reconciled"}
                ),
                timeout=PATIENCE,
            )
            texts = [kubectl.run("get", "events", "--output=json")]
            texts.append(kubectl.run("get", "databaseroles", "--output=json"))
        kubectl.wait(f"databaserole/{namespace}-r", "condition=Ready", timeout=PATIENCE)

    texts.append(kubectl.run("get", "events", "--output=json"))
    texts.append(kubectl.run("get", "databaseroles", "--output=json"))
    texts.append(kubectl.run("get", "databasecluster", namespace, "--output=json"))
    for log, start in logs.items():
        text = log.read_bytes()[start:].decode(errors="replace")
        texts.append(text)
    logged = texts[-1]
    assert f'COMMENT ON ROLE "{user}"' in logged
    admin_password = psycopg.conninfo.conninfo_to_dict(cluster.postgres.admin_dsn)
    for secret in (*secrets, str(admin_password["password"])):
        encoded = base64.b64encode(secret.encode()).decode()
        for text in texts:
            assert secret not in text
            assert encoded not in text


@contextmanager
def everything_logged(cluster: LocalCluster) -> Iterator[None]:
    """Make PostgreSQL log every statement with its parameters."""
    administer(
        cluster,
        OPEN_DATABASE,
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER SYSTEM SET log_error_verbosity = 'verbose'",
        "SELECT pg_reload_conf()",
    )
    try:
        yield
    finally:
        administer(
            cluster,
            OPEN_DATABASE,
            "ALTER SYSTEM RESET log_statement",
            "ALTER SYSTEM RESET log_error_verbosity",
            "SELECT pg_reload_conf()",
        )


@contextmanager
def admin_crippled(cluster: LocalCluster) -> Iterator[None]:
    """Take from the operator's login what it needs to change roles."""
    administer(cluster, OPEN_DATABASE, "ALTER ROLE pgop_admin NOCREATEROLE")
    try:
        yield
    finally:
        administer(cluster, OPEN_DATABASE, "ALTER ROLE pgop_admin CREATEROLE")
