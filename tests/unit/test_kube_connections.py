"""The Secret to connect from: what stands in it, and whose it is."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from psycopg import conninfo

from pg_operator.api.secret import SecretText
from pg_operator.kube.connections import (
    ConnectionDetails,
    ConnectionOwner,
    ConnectionSecret,
    ForeignSecret,
    apply_connection,
    remove_connection,
)
from tests.unit.secret_store import Json, Store

OWNER = ConnectionOwner("shop", "app", "uid-1")
DETAILS = ConnectionDetails(
    hosts=("pg.example.test",),
    ports=(5433,),
    username="app",
    password=SecretText("a/b:c@d e"),
    database="orders",
    sslmode="require",
)


async def publish(
    store: Any,
    details: ConnectionDetails = DETAILS,
    *,
    owner: ConnectionOwner = OWNER,
    rotated_for: str | None = None,
) -> None:
    over = await ConnectionSecret.read(store, owner, "conn")
    await apply_connection(
        store,
        owner=owner,
        name="conn",
        details=details,
        rotated_for=rotated_for,
        over=over,
    )


@pytest.fixture
def store() -> Store:
    return Store()


def entries(store: Store) -> dict[str, str]:
    data = store.secrets["conn"]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


async def test_secret_has_the_entries_of_service_binding(store: Store) -> None:
    await publish(store)
    assert entries(store) == {
        "type": "postgresql",
        "provider": "pg-operator",
        "host": "pg.example.test",
        "port": "5433",
        "username": "app",
        "password": "a/b:c@d e",
        "database": "orders",
        "sslmode": "require",
        "uri": "postgresql://app:a%2Fb%3Ac%40d%20e@pg.example.test:5433/orders"
        "?sslmode=require",
    }
    assert store.secrets["conn"]["type"] == "servicebinding.io/postgresql"


@pytest.mark.parametrize(
    ("hosts", "ports"),
    [
        (("pg.example.test",), (5432,)),
        (("one.test", "two.test"), (5432, 5433)),
        (("2001:db8::1",), (5432,)),
    ],
)
def test_uri_says_to_libpq_what_the_other_entries_say(
    hosts: tuple[str, ...], ports: tuple[int, ...]
) -> None:
    details = ConnectionDetails(
        hosts, ports, "ap p", SecretText("p%@:/?#[]é"), "or/ders", "verify-ca"
    )
    found = details.entries()
    read = conninfo.conninfo_to_dict(found["uri"])
    assert read == {
        "host": found["host"],
        "port": found["port"],
        "user": found["username"],
        "password": found["password"],
        "dbname": found["database"],
        "sslmode": found["sslmode"],
    }


async def test_secret_is_written_where_it_differs_only(store: Store) -> None:
    await publish(store)
    await publish(store)
    assert store.writes == 1
    moved = ConnectionDetails(
        ("new.test",), (5433,), "app", DETAILS.password, "orders", "require"
    )
    await publish(store, moved)
    assert entries(store)["host"] == "new.test"
    successor = ConnectionOwner("shop", "app", "uid-2")
    await publish(store, moved, owner=successor)
    (reference,) = store.secrets["conn"]["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["uid"]) == ("DatabaseRole", "uid-2")


async def test_rotation_that_was_made_is_remembered(store: Any) -> None:
    await publish(store, rotated_for="monday")
    secret = await ConnectionSecret.read(store, OWNER, "conn")
    assert secret is not None
    assert secret.rotated_for == "monday"
    assert secret.password == DETAILS.password
    assert "a/b" not in repr(secret)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": {}}, id="without-our-label"),
        pytest.param({"annotations": {}}, id="without-our-annotation"),
        pytest.param(
            {
                "annotations": {
                    "pg-operator.dev/connection-of": "DatabaseRole/shop/b Secret/conn"
                }
            },
            id="of-another-role",
        ),
        pytest.param(
            {
                "annotations": {
                    "pg-operator.dev/connection-of": "DatabaseRole/shop/app Secret/b"
                }
            },
            id="a-copy",
        ),
    ],
)
async def test_foreign_secret_is_neither_read_written_nor_deleted(
    store: Store, change: Json
) -> None:
    await publish(store)
    foreign = store.secrets["conn"]
    foreign["metadata"] = {**foreign["metadata"], **change}
    before = store.writes
    with pytest.raises(ForeignSecret):
        await publish(store)
    await remove_connection(store, owner=OWNER, name="conn")  # type: ignore[arg-type]
    assert store.secrets == {"conn": foreign}
    assert store.writes == before


async def test_own_secret_is_deleted_and_a_missing_one_is_no_matter(
    store: Any,
) -> None:
    await publish(store)
    for _ in range(2):
        await remove_connection(store, owner=OWNER, name="conn")
    assert store.secrets == {}


@pytest.mark.parametrize("data", [{}, {"password": ""}, {"password": "AA=="}])
async def test_password_that_nobody_can_use_counts_as_none(
    store: Any, data: Json
) -> None:
    await publish(store)
    store.secrets["conn"]["data"] = data
    secret = await ConnectionSecret.read(store, OWNER, "conn")
    assert secret is not None
    assert secret.password is None


async def test_ca_is_published_as_long_as_it_is_known(store: Store) -> None:
    await publish(store, replace(DETAILS, ca="-----BEGIN CERTIFICATE-----"))
    assert entries(store)["ca.crt"] == "-----BEGIN CERTIFICATE-----"
    await publish(store)
    assert "ca.crt" not in entries(store)
    await publish(store)
    assert store.writes == 2
