"""What admission decides about one object, through Kopf's real dispatch."""

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any

import jsonpatch
import kopf
import pytest

from pg_operator.api.specs import FINALIZER, Kind
from pg_operator.api.validation import FieldError, Verdict
from tests.unit.webhook_bed import (
    a_database,
    a_review,
    databases_only,
    kopf_function,
    no_claims,
)
from webhooks.handlers import KINDS, AdmittedKind, JudgeClaims, register
from webhooks.refusals import fit_warnings

BAD = a_database(name="Orders-DB")
DELETING = {"deletionTimestamp": "2026-11-24T12:00:00Z"}


async def answered(
    webhook: str,
    review: Mapping[str, Any],
    kinds: tuple[AdmittedKind, ...] = KINDS,
    *,
    claims: JudgeClaims = no_claims,
) -> dict[str, Any]:
    """Return the response inside Kopf's answer to one review."""
    registry = kopf.OperatorRegistry()
    function = kopf_function(registry, register(registry, claims=claims, kinds=kinds))
    answer: Any = await function(review, webhook=webhook)  # type: ignore[arg-type]
    response: dict[str, Any] = answer["response"]
    return response


def patched(response: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the answer's patch as the API server does."""
    if "patch" not in response:
        return dict(document)
    operations = json.loads(base64.b64decode(response["patch"]))
    result: dict[str, Any] = jsonpatch.apply_patch(document, operations)
    return result


@pytest.mark.parametrize(
    "finalizers", [None, [], ["example.com/theirs"]], ids=["absent", "empty", "theirs"]
)
async def test_mutate_adds_our_finalizer_on_create_and_nothing_else(
    finalizers: list[str] | None,
) -> None:
    database = a_database()
    if finalizers is not None:
        database["metadata"]["finalizers"] = finalizers
    response = await answered("mutate-database", a_review(database))
    expected = a_database()
    expected["metadata"]["finalizers"] = [*(finalizers or []), FINALIZER]
    assert patched(response, database) == expected


async def test_mutate_leaves_its_own_result_alone() -> None:
    """The API server may call it again (reinvocation, or a re-applied object)."""
    response = await answered("mutate-database", a_review(a_database()))
    once = patched(response, a_database())
    again = await answered("mutate-database", a_review(once))
    assert "patch" not in again


async def test_mutate_changes_nothing_on_update() -> None:
    """An object stored while the webhook was down gets it from the controller."""
    review = a_review(a_database(connectionLimit=5), old=a_database())
    assert "patch" not in await answered("mutate-database", review)


async def test_mutate_patches_nothing_that_it_refuses() -> None:
    response = await answered("mutate-database", a_review(BAD))
    assert not response["allowed"]
    assert "patch" not in response


@pytest.mark.parametrize("webhook", ["mutate-database", "validate-database"])
@pytest.mark.parametrize(
    ("new", "old", "allowed"),
    [
        pytest.param(BAD, None, False, id="created"),
        pytest.param(BAD, a_database(), False, id="spec-changed"),
        pytest.param(
            {**BAD, "metadata": {**BAD["metadata"], "labels": {"a": "b"}}},
            BAD,
            True,
            id="only-labels-changed",
        ),
        pytest.param(
            {**BAD, "metadata": {**BAD["metadata"], **DELETING}},
            a_database(),
            True,
            id="being-deleted",
        ),
        pytest.param(
            {**BAD, "status": {"observedGeneration": 2}},
            BAD,
            True,
            id="only-status-changed",
        ),
    ],
)
async def test_only_a_change_of_a_living_spec_is_judged(
    webhook: str, new: dict[str, Any], old: dict[str, Any] | None, *, allowed: bool
) -> None:
    """A stored object that breaks a newer rule can still be labelled and deleted."""
    error = FieldError("r", "spec.name", "spec.name", "FieldValueInvalid", "no")

    def validate(new: object, *, old: object = None) -> Verdict:
        return Verdict(errors=(error,), warnings=())

    kinds = databases_only(validate)
    response = await answered(webhook, a_review(new, old=old), kinds)
    assert response["allowed"] is allowed


async def test_rules_are_given_the_old_object_of_an_update() -> None:
    """Immutable fields and tightened rules are judged against it."""
    seen: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []

    def validate(
        new: Mapping[str, Any], *, old: Mapping[str, Any] | None = None
    ) -> Verdict:
        seen.append((new, old))
        return Verdict(errors=(), warnings=())

    new, old = a_database(connectionLimit=5), a_database()
    kinds = databases_only(validate)
    await answered("validate-database", a_review(new, old=old), kinds)
    await answered("validate-database", a_review(new), kinds)
    assert seen == [(new, old), (new, None)]


async def test_warnings_are_said_once_by_the_validating_webhook() -> None:
    def validate(new: object, *, old: object = None) -> Verdict:
        return Verdict(errors=(), warnings=("deletes the data", "deletes the data"))

    kinds = databases_only(validate)
    review = a_review(a_database())
    mutating = await answered("mutate-database", review, kinds)
    validating = await answered("validate-database", review, kinds)
    assert mutating.get("warnings") is None
    assert validating["warnings"] == ["deletes the data"]


async def test_refused_object_still_brings_its_warnings() -> None:
    error = FieldError("r", "spec.name", "spec.name", "FieldValueInvalid", "no")

    def validate(new: object, *, old: object = None) -> Verdict:
        return Verdict(errors=(error,), warnings=("deletes the data",))

    kinds = databases_only(validate)
    response = await answered("validate-database", a_review(a_database()), kinds)
    assert (response["allowed"], response["warnings"]) == (False, ["deletes the data"])


@pytest.mark.parametrize("webhook", ["mutate-database", "validate-database"])
async def test_claim_of_another_is_refused_by_both(webhook: str) -> None:
    error = FieldError("claimed", "spec.name", "spec.name", "FieldValueForbidden", "no")

    def claims(kind: Kind, new: object, *, old: object) -> Verdict:
        assert (kind, old) == ("Database", None)
        return Verdict((error,), ("not there yet",))

    response = await answered(webhook, a_review(a_database()), claims=claims)
    assert not response["allowed"]
    assert response["status"]["code"] == 422
    assert ("warnings" in response) == (webhook == "validate-database")


async def test_claims_of_an_invalid_object_are_not_looked_at() -> None:
    """What it means by its names is not known."""

    def claims(*_: object, **__: object) -> Verdict:
        raise AssertionError

    response = await answered("validate-database", a_review(BAD), claims=claims)
    assert response["status"]["code"] == 422


async def test_refusal_is_logged_by_rule_and_never_by_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a user mistyped may be a password in the wrong place."""
    caplog.set_level(logging.INFO, logger="webhooks")
    forged = a_database(name="Hunter-2")
    forged["metadata"]["name"] = "x\nINFO forged line"
    await answered("mutate-database", a_review(forged))
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("webhooks")]
    assert len(lines) == 1
    assert "Refused CREATE of Database" in lines[0]
    assert "Hunter-2" not in lines[0]
    assert "\n" not in lines[0]


def test_warnings_are_cut_to_what_the_api_server_keeps_whole() -> None:
    """By characters, not bytes; with a sign that something is missing."""
    assert fit_warnings(["ü" * 256]) == ["ü" * 256]
    assert fit_warnings(["ü" * 257]) == ["ü" * 255 + "…"]


def test_warnings_keep_within_the_total_and_say_how_many_are_left_out() -> None:
    fitted = fit_warnings([f"{number:03d}" + "x" * 300 for number in range(100)])
    assert sum(map(len, fitted)) <= 4096
    assert fitted[-1] == "85 more warnings are not shown"
    assert [warning[:3] for warning in fitted[:-1]] == [f"{n:03d}" for n in range(15)]


def test_as_many_warnings_as_fit_are_all_kept() -> None:
    warnings = [f"{number:03d}" + "x" * 253 for number in range(16)]
    assert fit_warnings(warnings) == warnings
