"""What is said of what an object names and is not there yet; nothing is refused."""

import pytest

from pg_operator.api.errors import Verdict
from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Object
from pg_operator.runtime.cache import Cache
from tests.unit.claims_bed import MAIN, MINE, Json, judged, serving, status
from tests.unit.runtime_bed import a_cluster, a_database, a_role
from webhooks.claims import judge_claims

MISSING_CLUSTER = (
    "spec.databaseClusterRef.name: DatabaseCluster 'main' does not exist; the object "
    "is worked on as soon as it does"
)


def test_everything_is_let_pass_before_anything_is_there() -> None:
    assert judged(MINE) == Verdict(warnings=(MISSING_CLUSTER,))
    assert judged(a_role("app", "orders")) == Verdict(
        warnings=(
            MISSING_CLUSTER,
            (
                "spec.permissions[orders]: no Database named 'orders' is declared on "
                "DatabaseCluster 'main'; it is granted on as soon as one is"
            ),
        )
    )


@pytest.mark.parametrize(
    ("cluster", "warning"),
    [
        pytest.param(
            a_cluster(status=serving("False")),
            "DatabaseCluster 'main' is not available; its conditions say why, and the "
            "object is worked on as soon as it is",
            id="unavailable",
        ),
        pytest.param(
            a_cluster(),
            "DatabaseCluster 'main' is not available; its conditions say why, and the "
            "object is worked on as soon as it is",
            id="new",
        ),
        pytest.param(
            a_cluster(status=serving(), deletionTimestamp="now"),
            "DatabaseCluster 'main' is being deleted and takes no new databases",
            id="going",
        ),
        pytest.param(
            {
                **MAIN,
                "spec": {**MAIN["spec"], "allowedNamespaces": {"from": "None"}},
            },
            "namespace 'shop' may not use DatabaseCluster 'main'; ask its "
            "administrator to let it in by spec.allowedNamespaces",
            id="closed",
        ),
        pytest.param(
            {**MAIN, "spec": {**MAIN["spec"], "namePrefix": "{namespace}_"}},
            "spec.name: Invalid value: \"orders\": must start with 'shop_' on "
            "DatabaseCluster 'main'; try 'shop_orders'",
            id="prefix",
        ),
    ],
)
def test_cluster_that_cannot_be_used_yet_is_warned_of(
    cluster: Json, warning: str
) -> None:
    assert judged(MINE, cluster) == Verdict(warnings=(warning,))


READER = a_role("reader", "orders")


@pytest.mark.parametrize(
    ("database", "warnings"),
    [
        pytest.param(a_database("orders", status=status()), (), id="ready"),
        pytest.param(
            a_database("orders"),
            (
                (
                    "spec.permissions[orders]: database 'orders' is not Ready yet; it "
                    "is granted on as soon as its Database is"
                ),
            ),
            id="not-ready",
        ),
        pytest.param(
            a_database("orders", namespace="bank", status=status()),
            (
                (
                    "spec.permissions[orders]: database 'orders' is not open to "
                    "namespace 'shop'; ask for it to be let in by its "
                    "spec.allowedNamespaces"
                ),
            ),
            id="not-open",
        ),
        pytest.param(
            a_database(
                "orders",
                namespace="bank",
                status=status(),
                spec={"allowedNamespaces": {"from": "Names", "names": ["shop"]}},
            ),
            (),
            id="open",
        ),
    ],
)
def test_database_that_cannot_be_granted_in_yet_is_warned_of(
    database: Json, warnings: tuple[str, ...]
) -> None:
    assert judged(READER, MAIN, database) == Verdict(warnings=warnings)


def test_schema_that_the_database_does_not_list_is_warned_of() -> None:
    database = a_database("orders", spec={"schema": "app"}, status=status())
    role = a_role("reader")
    schemas = [{"name": name} for name in ("app", "audit", "public")]
    role["spec"]["permissions"] = [{"database": "orders", "schemas": schemas}]
    assert judged(role, MAIN, database) == Verdict(
        warnings=(
            (
                "spec.permissions[orders].schemas[audit]: schema 'audit' is not listed "
                "by the Database; add it to its spec.schemas"
            ),
        )
    )


SHOP = a_role("group", role="crew")
OTHERS = a_role("group", role="crew", namespace="bank", status=status())
OWNED_BY_CREW = a_database(
    "orders",
    spec={
        "owner": "crew",
        "schemas": [{"name": "app", "owner": "crew", "creators": ["crew"]}],
    },
)
NAMED = ("spec.owner", "spec.schemas[app].owner", "spec.schemas[app].creators[crew]")
NOT_MADE = (
    "role 'crew' is not made yet by its DatabaseRole; it is used as soon as it is"
)
NOT_OURS = (
    "role 'crew' is no DatabaseRole of this namespace on DatabaseCluster 'main', nor "
    "one that it lists in spec.allowedOwners; declare it, or ask for it to be listed"
)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        pytest.param({**SHOP, "status": status()}, None, id="made"),
        pytest.param(
            {**SHOP, "status": status("PartiallyApplied")}, None, id="made-in-part"
        ),
        pytest.param(SHOP, NOT_MADE, id="new"),
        pytest.param({**SHOP, "status": status("Conflict")}, NOT_MADE, id="lost"),
        pytest.param(
            a_role("group", role="crew", status=status(), deletionTimestamp="now"),
            NOT_OURS,
            id="going",
        ),
        pytest.param(OTHERS, NOT_OURS, id="of-another-namespace"),
        pytest.param(
            a_role("group", role="crew", cluster="second", status=status()),
            NOT_OURS,
            id="of-another-cluster",
        ),
    ],
)
def test_owner_and_creator_that_cannot_be_used_yet_is_warned_of(
    role: Json, said: str | None
) -> None:
    warnings = tuple(f"{path}: {said}" for path in NAMED if said)
    assert judged(OWNED_BY_CREW, MAIN, role) == Verdict(warnings=warnings)


def allowing(**lists: list[str]) -> Json:
    return {**MAIN, "spec": {**MAIN["spec"], **lists}}


def test_owner_that_the_cluster_lists_is_the_servers_to_know() -> None:
    assert judged(OWNED_BY_CREW, allowing(allowedOwners=["crew"])) == Verdict()
    member = joining({"role": "crew"})
    assert judged(member, allowing(allowedMemberships=["crew"])) == Verdict()


def joining(*groups: Json) -> Json:
    role = a_role("reader")
    return {**role, "spec": {**role["spec"], "memberOf": list(groups)}}


@pytest.mark.parametrize(
    ("role", "said"),
    [
        pytest.param({**SHOP, "status": status()}, None, id="made"),
        pytest.param(
            SHOP,
            "role 'crew' is not Ready yet; it is joined as soon as its DatabaseRole is",
            id="new",
        ),
        pytest.param(
            OTHERS,
            "no DatabaseRole of this namespace declares role 'crew', and the "
            "DatabaseCluster does not list it; it is joined as soon as one does",
            id="of-another-namespace",
        ),
    ],
)
def test_group_that_cannot_be_joined_yet_is_warned_of(
    role: Json, said: str | None
) -> None:
    warnings = (f"spec.memberOf[crew]: {said}",) if said else ()
    assert judged(joining({"role": "crew"}), MAIN, role) == Verdict(warnings=warnings)


def test_group_of_all_namespaces_may_not_be_passed_on() -> None:
    member = joining({"role": "crew", "admin": True})
    assert judged(member, allowing(allowedMemberships=["crew"])).warnings == (
        (
            "spec.memberOf[crew]: role 'crew' is shared by the administrator of the "
            "DatabaseCluster, so it may not be passed on; remove `admin`"
        ),
    )


def test_change_is_warned_of_what_it_adds_only() -> None:
    more = a_role("reader", "orders", "billing")
    assert judged(more, old=READER).warnings == (
        (
            "spec.permissions[billing]: no Database named 'billing' is declared on "
            "DatabaseCluster 'main'; it is granted on as soon as one is"
        ),
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"roleName": 5},
        {"databaseClusterRef": "main"},
        {"permissions": "all"},
        {"permissions": [5, {}, {"database": {}}, {"database": "x", "schemas": [{}]}]},
        {"memberOf": [5, {}, {"role": 5}], "schemas": [{}, {"name": 5}]},
        {"owner": 5, "schemas": [{"name": "app", "owner": {}, "creators": [5]}]},
        {"memberOf": {}, "schemas": [{"name": "app", "creators": "crew"}]},
    ],
    ids=str,
)
def test_any_fault_of_a_stored_object_is_lived_with(spec: Json) -> None:
    old = {**READER, "spec": {**READER["spec"], **spec}}
    new = {**old, "spec": {**old["spec"], "connectionLimit": 3}}
    assert judged(new, MAIN, old=old) == Verdict()


class OneByOne(Cache):
    """Objects of which nobody may look at all: there may be 10,000."""

    def of_cluster(self, kind: Kind, cluster: str) -> tuple[Object, ...]:
        """Fail."""
        raise AssertionError(f"looks at every {kind} of DatabaseCluster {cluster}")


def test_reference_is_looked_up_without_a_look_at_every_object() -> None:
    """A Database may name hundreds of roles, and all others wait for admission."""
    objects = OneByOne()
    objects.put("DatabaseCluster", MAIN)
    role = a_role("reader", "orders")
    role["spec"]["memberOf"] = [{"role": "crew"}]
    new: dict[Kind, Json] = {"Database": OWNED_BY_CREW, "DatabaseRole": role}
    said = {
        kind: judge_claims(kind, obj, old=None, objects=objects).warnings
        for kind, obj in new.items()
    }
    assert all(len(warnings) > 1 for warnings in said.values())
