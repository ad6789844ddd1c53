"""What is said of an object beside those that are stored: one thing is refused."""

from collections.abc import Mapping
from typing import Any

import pytest

from pg_operator.api.errors import Verdict
from pg_operator.api.specs import Kind
from pg_operator.runtime.cache import Cache
from tests.unit.runtime_bed import a_cluster, a_database, a_role
from webhooks.claims import judge_claims

Json = dict[str, Any]
SERVER = {"systemIdentifier": "7", "startedAt": "2026-11-01T00:00:00Z"}
TAKEN = (
    "spec.name: Forbidden: database 'orders' on DatabaseCluster 'main' is already "
    "managed by another object; choose another name or ask the cluster's administrator"
)
MISSING_CLUSTER = (
    "spec.databaseClusterRef.name: DatabaseCluster 'main' does not exist; the object "
    "is worked on as soon as it does"
)


def status(ready: str = "Reconciled", **more: Any) -> Json:
    """The status of an object that is as declared, or not."""
    word = "True" if ready == "Reconciled" else "False"
    conditions = [{"type": "Ready", "status": word, "reason": ready}]
    return {"observedGeneration": 1, "conditions": conditions, "oid": 1, **more}


def serving(available: str = "True", **server: Any) -> Json:
    """The status of a DatabaseCluster."""
    conditions = [{"type": "Available", "status": available}]
    return {"conditions": conditions, "server": {**SERVER, **server}}


MAIN = a_cluster(status=serving())
# Of namespace "shop", as everything is that says nothing else.
MINE = a_database("orders")
OWNED = a_database("orders", namespace="bank", status=status())


def stored(*objects: Json) -> Cache:
    """Store objects as watches would."""
    cache = Cache()
    for obj in objects:
        spec = obj["spec"]
        kind: Kind = "DatabaseCluster" if "connection" in spec else "Database"
        cache.put("DatabaseRole" if "roleName" in spec else kind, obj)
    return cache


def judged(new: Json, *objects: Json, old: Json | None = None) -> Verdict:
    kind: Kind = "DatabaseRole" if "roleName" in new["spec"] else "Database"
    return judge_claims(kind, new, old=old, objects=stored(*objects))


def refusals(new: Json, *objects: Json) -> list[str]:
    return [str(error) for error in judged(new, *objects).errors]


def test_object_whose_name_is_still_to_be_generated_is_judged() -> None:
    obj = a_database("orders")
    del obj["metadata"]["name"]
    assert refusals(obj, MAIN, OWNED) == [TAKEN]
    assert judged(obj, MAIN) == Verdict()


def labelled(obj: Json, **labels: str) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def annotated(obj: Json, annotations: Mapping[str, str]) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "annotations": dict(annotations)}}


def test_name_that_a_living_object_holds_is_refused_without_naming_it() -> None:
    rival = a_database("secret-name", database="orders", namespace="bank")
    rival["status"] = status()
    assert refusals(MINE, MAIN, rival) == [TAKEN]
    role = a_role("app", role="app", namespace="bank", status=status())
    assert refusals(a_role("app"), MAIN, role) == [
        TAKEN.replace("spec.name", "spec.roleName").replace(
            "database 'orders'", "role 'app'"
        )
    ]


@pytest.mark.parametrize(
    "rival",
    [
        pytest.param({**OWNED, "status": {"observedGeneration": -1}}, id="never-made"),
        pytest.param({**OWNED, "status": status("Conflict")}, id="lost"),
        pytest.param({**OWNED, "status": status("AlreadyExists")}, id="foreign"),
        pytest.param({**OWNED, "status": status("Unverified")}, id="unverified"),
    ],
)
def test_rival_that_does_not_own_the_name_is_only_warned_of(rival: Json) -> None:
    """Which of the two gets it, the server decides."""
    assert judged(MINE, MAIN, rival) == Verdict(
        warnings=(
            (
                "spec.name: database 'orders' on DatabaseCluster 'main' is already "
                "declared by another object; only one of the two can have it"
            ),
        )
    )


def test_owner_that_is_not_ready_for_now_still_owns() -> None:
    owner = {**OWNED, "status": status("PartiallyApplied")}
    assert refusals(MINE, MAIN, owner) == [TAKEN]


def test_owner_that_is_being_deleted_stands_in_nobodys_way() -> None:
    going = {**OWNED, "metadata": {**OWNED["metadata"], "deletionTimestamp": "now"}}
    assert judged(MINE, MAIN, going) == Verdict()


def test_object_never_rivals_itself() -> None:
    """Applied again, or anew before its deletion was seen."""
    itself = a_database("orders", status=status(), uid="an-older-one")
    assert judged(MINE, MAIN, itself) == Verdict()


@pytest.mark.parametrize(
    ("other", "certain"),
    [
        pytest.param(serving(), True, id="same"),
        pytest.param(serving(startedAt="2026-11-02T00:00:00Z"), None, id="a-copy"),
        pytest.param(serving(systemIdentifier="8"), None, id="another"),
        pytest.param(serving("False"), False, id="not-seen-lately"),
        pytest.param({"observedGeneration": -1}, None, id="never-seen"),
    ],
)
def test_two_clusters_are_one_server_by_identifier_and_start(
    other: Json, *, certain: bool | None
) -> None:
    second = a_cluster("second", status=other)
    owner = a_database("x", database="orders", cluster="second", namespace="bank")
    owner["status"] = status()
    verdict = judged(MINE, MAIN, second, owner)
    assert bool(verdict.errors) == (certain is True)
    assert bool(verdict.warnings) == (certain is False)


def test_update_is_never_refused_for_a_name() -> None:
    """It cannot change there; the condition tells of a conflict."""
    edited = a_database("orders", spec={"connectionLimit": 5})
    assert judged(edited, MAIN, OWNED, old=MINE) == Verdict()


# GitOps tools try every object of a commit before they apply one, and prune last.
FLUX = {
    "kustomize.toolkit.fluxcd.io/name": "apps",
    "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
}
HELM = {
    "meta.helm.sh/release-name": "orders",
    "meta.helm.sh/release-namespace": "apps",
}
ARGO_CD = "argocd.argoproj.io/tracking-id"


def test_object_under_a_new_name_is_let_pass_while_the_old_one_is_there() -> None:
    renamed = a_database("orders-2", database="orders")
    old = a_database("orders", status=status())
    assert judged(renamed, MAIN, old) == Verdict(
        warnings=(
            (
                "spec.name: database 'orders' on DatabaseCluster 'main' is already "
                "declared by Database 'orders'; only one of the two can have it"
            ),
        )
    )


@pytest.mark.parametrize(
    ("new", "old"),
    [
        pytest.param(labelled(MINE, **FLUX), labelled(OWNED, **FLUX), id="flux"),
        pytest.param(annotated(MINE, HELM), annotated(OWNED, HELM), id="helm"),
        pytest.param(
            annotated(MINE, {ARGO_CD: "apps:pg-operator.dev/Database:shop/orders"}),
            annotated(OWNED, {ARGO_CD: "apps:pg-operator.dev/Database:bank/orders"}),
            id="argo-cd",
        ),
        pytest.param(
            labelled(MINE, **{"applyset.kubernetes.io/part-of": "applyset-1"}),
            labelled(OWNED, **{"applyset.kubernetes.io/part-of": "applyset-1"}),
            id="applyset",
        ),
    ],
)
def test_object_moved_by_its_release_to_another_namespace_is_let_pass(
    new: Json, old: Json
) -> None:
    assert judged(new, MAIN, old) == Verdict(
        warnings=(
            (
                "spec.name: database 'orders' on DatabaseCluster 'main' is still "
                "managed by another object of the same release; this one waits until "
                "that is deleted"
            ),
        )
    )


@pytest.mark.parametrize(
    ("new", "old"),
    [
        pytest.param(
            FLUX, {**FLUX, "kustomize.toolkit.fluxcd.io/name": "x"}, id="flux"
        ),
        pytest.param(HELM, {**HELM, "meta.helm.sh/release-namespace": "x"}, id="helm"),
        pytest.param({ARGO_CD: "apps:x"}, {ARGO_CD: "bank:x"}, id="argo-cd"),
        pytest.param({ARGO_CD: ":x"}, {ARGO_CD: ":x"}, id="argo-cd-without-a-name"),
        pytest.param({"app": "orders"}, {"app": "orders"}, id="any-label"),
    ],
)
def test_object_of_another_release_is_refused(
    new: Mapping[str, str], old: Mapping[str, str]
) -> None:
    assert refusals(annotated(MINE, new), MAIN, annotated(OWNED, old)) == [TAKEN]


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
            "administrator to add it to spec.allowedNamespaces",
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
                    "namespace 'shop'; ask for it to be added to its "
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
    ],
    ids=str,
)
def test_any_fault_of_a_stored_object_is_lived_with(spec: Json) -> None:
    old = {**READER, "spec": {**READER["spec"], **spec}}
    new = {**old, "spec": {**old["spec"], "connectionLimit": 3}}
    assert judged(new, MAIN, old=old) == Verdict()


def test_clusters_claim_nothing() -> None:
    objects = stored(MAIN)
    assert judge_claims("DatabaseCluster", MAIN, old=None, objects=objects) == Verdict()
