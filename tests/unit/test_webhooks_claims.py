"""What is said of an object beside those that are stored: one thing is refused."""

from collections.abc import Mapping

import pytest

from pg_operator.api.errors import Verdict
from tests.unit.claims_bed import (
    MAIN,
    MINE,
    OWNED,
    Json,
    judged,
    serving,
    status,
    stored,
)
from tests.unit.runtime_bed import a_cluster, a_database, a_role
from webhooks.claims import judge_claims

TAKEN = (
    "spec.name: Forbidden: database 'orders' on DatabaseCluster 'main' is already "
    "managed by another object; choose another name or ask the cluster's administrator"
)


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


def test_clusters_claim_nothing() -> None:
    objects = stored(MAIN)
    assert judge_claims("DatabaseCluster", MAIN, old=None, objects=objects) == Verdict()
