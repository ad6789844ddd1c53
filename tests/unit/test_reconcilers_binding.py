"""Where a role's password comes from, and what its connection Secret says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certs.issue import issue_authority
from pg_operator.api.secret import SecretText
from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.state import Password
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.tls import Certificates
from pg_operator.reconcilers.binding import (
    Binding,
    read_password,
    reconcile_binding,
)
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.servers import Link
from pg_operator.runtime.cache import Cache
from tests.unit.plan_examples import server
from tests.unit.runtime_bed import NOW, a_database, a_role, role_key
from tests.unit.secret_store import Json, Store

KEY = role_key("app")
GENERATED: Json = {
    "generatePassword": True,
    "connectionSecret": {"name": "conn", "database": "orders"},
}


class Bed:
    """A role, the Secrets of its namespace, and what was read and written."""

    def __init__(self) -> None:
        """Begin with no Secret."""
        self.store = Store()
        self.cache = Cache()
        self.keyring = Keyring.from_secret(Keyring.generate())
        self.dsn = "host=pg.example.test port=5433 user=admin password=x"
        self.certificates: dict[str, bytes] = {}
        self.role = a_role("app")

    @property
    def context(self) -> Context:
        """What reconcilers are given; the server is not asked for anything here."""
        absent: Any = None
        store: Any = self.store
        return Context(
            self.cache, store, absent, self.keyring, "me", lambda: NOW, absent
        )

    async def bind(self, *, rotate: str | None = None, **fields: Any) -> Binding:
        """Reconcile once, and store what the status would say."""
        self.role["spec"].update(fields)
        annotations = {} if rotate is None else {"pg-operator.dev/rotate": rotate}
        self.role["metadata"]["annotations"] = annotations
        certificates = Certificates.of_secret(self.certificates)
        dsn = parse_dsn(SecretText(self.dsn), certificates=certificates)
        link = Link(server(), dsn, None, ())  # type: ignore[arg-type]
        spec = DatabaseRoleSpec.parse(self.role["spec"])
        binding = await reconcile_binding(self.context, KEY, self.role, spec, link)
        name = binding.secret
        self.role["status"] = {} if name is None else {"binding": {"name": name}}
        return binding

    @property
    def published(self) -> str:
        """The password in the Secret."""
        return self.store.entries("conn")["password"]


@pytest.fixture
def bed() -> Bed:
    return Bed()


def text(binding: Binding) -> str:
    assert isinstance(binding.password, Password)
    assert binding.password.text is not None
    return binding.password.text.reveal()


async def test_generated_password_is_in_the_secret_before_it_is_returned(
    bed: Bed,
) -> None:
    binding = await bed.bind(**GENERATED)
    assert text(binding) == bed.published
    assert len(bed.published) >= 32
    assert (binding.secret, binding.problem) == ("conn", None)
    again = await bed.bind()
    assert text(again) == bed.published
    assert bed.store.writes == 1


async def test_passwords_of_two_roles_differ() -> None:
    one, other = Bed(), Bed()
    await one.bind(**GENERATED)
    await other.bind(**GENERATED)
    assert one.published != other.published


async def test_annotation_rotates_once_for_each_value(bed: Bed) -> None:
    await bed.bind(**GENERATED)
    first = bed.published
    await bed.bind(rotate="monday")
    second = bed.published
    assert second != first
    await bed.bind(rotate="monday")
    await bed.bind()
    assert bed.published == second
    await bed.bind(rotate="tuesday")
    assert bed.published != second


async def test_annotation_of_a_new_role_is_no_reason_to_rotate(bed: Bed) -> None:
    await bed.bind(rotate="monday", **GENERATED)
    first = bed.published
    await bed.bind(rotate="monday")
    assert bed.published == first


async def test_secret_that_was_lost_or_emptied_gets_a_new_password(bed: Bed) -> None:
    await bed.bind(**GENERATED)
    first = bed.published
    bed.store.secrets["conn"]["data"]["password"] = ""
    assert text(await bed.bind()) == bed.published != first
    bed.store.secrets.clear()
    assert text(await bed.bind()) == bed.published != first


async def test_password_that_was_changed_in_the_secret_is_the_roles(bed: Bed) -> None:
    await bed.bind(**GENERATED)
    bed.store.secrets["conn"]["data"]["password"] = "bWluZQ=="  # mine
    binding = await bed.bind()
    assert text(binding) == "mine"
    assert "mine" in bed.store.entries("conn")["uri"]


async def test_secret_follows_server_and_database(bed: Bed) -> None:
    await bed.bind(**GENERATED)
    bed.dsn = "host=new.test port=6432 user=admin password=x sslmode=disable"
    await bed.bind(connectionSecret={"name": "conn", "database": "stock"})
    found = bed.store.entries("conn")
    assert (found["host"], found["port"], found["sslmode"], found["database"]) == (
        "new.test",
        "6432",
        "disable",
        "stock",
    )


async def test_service_of_the_namespace_stands_for_the_server(bed: Bed) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    authority = issue_authority(common_name="a CA", now=now, lifetime=day)
    bed.certificates = {"ca.crt": authority.certificate_pem}
    far = a_database("far", database="orders", service="db", namespace="depot")
    bed.cache.put("Database", far)
    wanted = {"name": "conn", "database": "orders", "host": "Service"}
    binding = await bed.bind(generatePassword=True, connectionSecret=wanted)
    assert isinstance(binding.password, Blocked)
    assert bed.store.secrets == {}

    bed.cache.put("Database", a_database("orders", service="orders-db"))
    await bed.bind()
    found = bed.store.entries("conn")
    assert (found["host"], found["port"]) == ("orders-db.shop.svc", "5433")
    assert found["sslmode"] == "verify-ca"
    assert found["ca.crt"].encode() == authority.certificate_pem


async def test_secret_that_cannot_be_kept_is_still_known_and_removed(bed: Bed) -> None:
    await bed.bind(**GENERATED)
    first = bed.published
    wanted = {"name": "conn", "database": "orders", "host": "Service"}
    binding = await bed.bind(connectionSecret=wanted)
    assert text(binding) == first
    assert binding.problem is not None
    assert binding.secret == "conn"
    del bed.role["spec"]["connectionSecret"], bed.role["spec"]["generatePassword"]
    assert await bed.bind() == Binding(None)
    assert bed.store.secrets == {}


async def test_foreign_secret_keeps_a_generated_password_from_being_made(
    bed: Bed,
) -> None:
    foreign = {"metadata": {"name": "conn", "namespace": "shop"}, "data": {}}
    bed.store.secrets["conn"] = foreign
    binding = await bed.bind(**GENERATED)
    assert isinstance(binding.password, Blocked)
    assert binding.password.reason == "SecretConflict"
    assert bed.store.secrets == {"conn": foreign}
    spec = DatabaseRoleSpec.parse(bed.role["spec"])
    read = await read_password(bed.context, KEY, bed.role, spec)
    assert isinstance(read, Blocked)


async def test_given_password_is_set_even_where_it_cannot_be_published(
    bed: Bed,
) -> None:
    given = {
        "metadata": {"name": "given", "namespace": "shop", "resourceVersion": "1"},
        "data": {"password": "Z2l2ZW4="},
    }
    bed.store.secrets |= {"given": given, "conn": {**given, "data": {}}}
    secret = {"name": "conn", "database": "orders"}
    binding = await bed.bind(password={"name": "given"}, connectionSecret=secret)
    assert text(binding) == "given"
    assert binding.problem is not None
    assert binding.problem.reason == "SecretConflict"
