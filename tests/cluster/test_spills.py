"""Everything that a run wrote is searched for secrets when it ends, by conftest.py."""

import base64
import secrets

import pytest
from psycopg import conninfo

from pg_operator.postgres.marks import PREFIX
from tests.cluster.objects import documents, dsn_secret, password_secret
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.spills import find_spills

SHOWN = {
    "a verifier": "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$a:b",
    "a mark": f"{PREFIX} v1 0a1b2c c2VhbGVk",
}


@pytest.mark.parametrize(
    "form",
    ["{}", "said {} in between", '{{"text": "{}"}}'],
)
def test_secret_that_shows_is_found_wherever_it_came_from(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, form: str
) -> None:
    password, other = secrets.token_hex(8), secrets.token_hex(8)
    dsn = conninfo.make_conninfo(host="db.example", user="u", password=other)
    kubectl.apply(documents(password_secret("shown", password)))
    kubectl.run(*("delete", "secret", "shown"))
    stored = dsn_secret(namespace, dsn)
    kubectl.apply(documents(stored))
    kubectl.run("delete", "--filename=-", input=documents(stored))

    for text in (password, other, dsn, base64.b64encode(password.encode()).decode()):
        found = find_spills(cluster.logs, pages={"a page": form.format(text)})
        assert any(one.startswith("a page shows ") for one in found), text
    for what, text in SHOWN.items():
        found = find_spills(cluster.logs, pages={"a page": form.format(text)})
        assert found == [f"a page shows {what}"]
    assert find_spills(cluster.logs, pages={"a page": form.format("x")}) == []
