"""Names that may be created, names that may be referred to, and suggestions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_operator.api.names import (
    RESERVED,
    CreatedKind,
    cluster_name_problem,
    created_name_problem,
    expand_prefix,
    label_problem,
    name_prefix_problem,
    nearest_name,
    nearest_service_name,
    referred_name_problem,
    secret_key_problem,
    secret_name_problem,
    service_name_problem,
    signature_problem,
)

KINDS: tuple[CreatedKind, ...] = ("database", "role", "schema")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["orders", "_orders", "o", "orders-2024", "a$b", "x" * 63]
)
def test_plain_name_may_be_created(kind: CreatedKind, name: str) -> None:
    assert created_name_problem(kind, name) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "",
        "Orders",
        "1orders",
        "-orders",
        "$user",
        "orders db",
        "orders\n",
        "orders\x00",
        'or"ders',
        "bücher",
        "x" * 64,
        "\ud800",
    ],
)
def test_name_that_would_need_quotes_may_not_be_created(
    kind: CreatedKind, name: str
) -> None:
    problem = created_name_problem(kind, name)
    assert problem is not None
    assert problem.rule == "name-pattern"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS for name in sorted(RESERVED[kind])]
    + [("role", "pg_monitor"), ("schema", "pg_catalog"), ("role", "pg_")],
)
def test_reserved_name_may_not_be_created(kind: CreatedKind, name: str) -> None:
    problem = created_name_problem(kind, name)
    assert problem is not None
    assert problem.rule == "name-reserved"


def test_database_may_start_with_pg_as_postgresql_allows() -> None:
    assert created_name_problem("database", "pg_orders") is None


def test_schema_public_may_be_declared() -> None:
    assert created_name_problem("schema", "public") is None


@pytest.mark.parametrize(
    ("kind", "written", "nearest"),
    [
        ("database", "Orders-DB", "orders-db"),
        ("database", " Orders DB ", "orders_db"),
        ("database", "Bücher", "bucher"),
        ("database", "2024", "_2024"),
        ("database", "x" * 80, "x" * 63),
        ("role", "pg_orders", "orders"),
        ("role", "PG_PG_orders", "orders"),
        ("role", "PUBLIC", None),
        ("schema", "pg_", None),
        ("database", "日本", None),
        ("database", "", None),
    ],
)
def test_nearest_name_is_what_was_meant(
    kind: CreatedKind, written: str, nearest: str | None
) -> None:
    assert nearest_name(kind, written) == nearest


@given(kind=st.sampled_from(KINDS), written=st.text())
def test_nearest_name_may_always_be_created(kind: CreatedKind, written: str) -> None:
    nearest = nearest_name(kind, written)
    assert nearest is None or created_name_problem(kind, nearest) is None


@given(st.text())
def test_nearest_service_name_is_always_valid(written: str) -> None:
    nearest = nearest_service_name(written)
    assert nearest is None or service_name_problem(nearest) is None


@pytest.mark.parametrize("name", ["User", "__EFMigrationsHistory", "a b", "é" * 31])
def test_existing_name_may_be_referred_to(name: str) -> None:
    assert referred_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "é" * 32, "x" * 64, "a\x00", "a\n", "\ud800"])
def test_impossible_name_may_not_be_referred_to(name: str) -> None:
    assert referred_name_problem(name) is not None


@pytest.mark.parametrize("name", ["orders-db", "o", "x" * 63])
def test_service_name_is_a_dns_label(name: str) -> None:
    assert service_name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "1orders", "orders_db", "Orders", "orders-", "a.b", "x" * 64, "kubernetes"],
)
def test_service_name_is_refused_when_the_api_server_would_refuse_it(name: str) -> None:
    assert service_name_problem(name) is not None


def test_names_of_kubernetes_objects_follow_their_kind() -> None:
    assert secret_name_problem("postgres-admin.v1") is None
    assert cluster_name_problem("main.eu") is None
    assert label_problem("team-1") is None
    assert secret_key_problem("PG.pass_word-1") is None


@pytest.mark.parametrize(
    "problem",
    [
        secret_name_problem("Main"),
        secret_name_problem("main\n"),
        cluster_name_problem("x" * 254),
        cluster_name_problem(".main"),
        label_problem("team.one"),
        label_problem("x" * 64),
        secret_key_problem("pass word"),
        secret_key_problem(".."),
        secret_key_problem(""),
    ],
)
def test_names_of_kubernetes_objects_are_checked(problem: object) -> None:
    assert problem is not None


@pytest.mark.parametrize("prefix", ["team_", "{namespace}_", "a-{namespace}-", "_"])
def test_name_prefix_is_the_beginning_of_a_name(prefix: str) -> None:
    assert name_prefix_problem(prefix) is None


@pytest.mark.parametrize(
    "prefix", ["", "Team_", "1a", "-", "{team}_", "{namespace", "pg_", "x" * 63]
)
def test_name_prefix_that_no_name_has_is_refused(prefix: str) -> None:
    assert name_prefix_problem(prefix) is not None


def test_name_prefix_stands_for_each_namespace() -> None:
    assert expand_prefix("{namespace}_", namespace="shop") == "shop_"


@pytest.mark.parametrize(
    "signature",
    [
        "add()",
        "add(integer, app.money)",
        "Add (text[])",
        '"Add; it"(app."My Type", double precision)',
        '"say ""no"""()',
        "größe(int)",
    ],
)
def test_signature_of_a_function_is_accepted(signature: str) -> None:
    assert signature_problem(signature) is None


@pytest.mark.parametrize(
    ("signature", "hint"),
    [
        ("add", "add()"),
        ("app.add(int)", "add(int)"),
        ("add(numeric(10, 2))", "add(integer, app.money)"),
        ("add(int); drop", "add(integer, app.money)"),
        ("add(\n)", "add(integer, app.money)"),
        ("", "add(integer, app.money)"),
        ("*", "add(integer, app.money)"),
    ],
)
def test_what_is_no_signature_is_refused_with_an_example(
    signature: str, hint: str
) -> None:
    problem = signature_problem(signature)
    assert problem is not None
    assert problem.detail.endswith(f"try '{hint}'")


def test_signature_has_a_longest_length() -> None:
    assert signature_problem("f(" + "int," * 200 + ")") is not None
