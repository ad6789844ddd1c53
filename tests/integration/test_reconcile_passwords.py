"""Passwords from Secrets, as people put them there."""

from tests.integration.postgres_bed import Bed
from tests.integration.reconcile_bed import MAIN, Stage


async def test_newline_at_the_end_of_a_password_counts_and_is_told(
    stage: Stage, bed: Bed
) -> None:
    """`echo` puts one there: logins fail that do not send it, and somebody wonders."""
    name, text = bed.name("app"), "from echo, not a good one"
    spec = {"roleName": name, "password": {"name": "login"}, **MAIN}
    key = stage.put("DatabaseRole", "app", spec, namespace="shop")
    for password in (f"{text}\n", text):
        stage.secrets["shop", "login"] = {"password": password.encode()}
        reason, message, _ = await stage.reconcile(key)
        assert reason == "Reconciled"
        assert ("newline" in message) is password.endswith("\n")
        async with bed.login(name, "postgres", password=password):
            pass
