"""The webhook server, over real TLS and through Kopf's real dispatch."""

import asyncio
import base64
import copy
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import aiohttp
import kopf
import pytest
from cryptography import x509

from certs.issue import issue_authority, issue_leaf
from pg_operator.api.specs import FINALIZER, PLURALS
from pg_operator.api.validation import Verdict
from tests.unit.webhook_bed import (
    a_database,
    a_review,
    client_session,
    databases_only,
    leaf_of,
    no_claims,
    serving,
)
from webhooks.handlers import INTERNAL_ERROR, register
from webhooks.review import Review
from webhooks.server import BODY_LIMIT, DEADLINE_EXCEEDED, budget

ROUTES = register(kopf.OperatorRegistry(), claims=no_claims)
BAD = {"name": "Orders-DB", "deletionPolicy": "Destroy"}
TYPO_TWICE = a_database(**BAD)


@pytest.mark.parametrize("path", ["/mutate-database", "/validate-database"])
async def test_refusal_brings_every_error_out_with_its_field(
    tmp_path: Path, path: str
) -> None:
    """One answer, 422 and Invalid, its causes as the API server writes them itself."""
    async with serving(tmp_path) as served:
        status, answer = await served.post(path, a_review(TYPO_TWICE))
    refusal = answer["status"]
    causes = refusal["details"]["causes"]
    assert (status, answer["allowed"], answer["uid"]) == (200, False, "review-1")
    assert (refusal["code"], refusal["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in causes} == {"spec.name", "spec.deletionPolicy"}
    assert all(
        f"{cause['field']}: {cause['message']}" in refusal["message"]
        for cause in causes
    )
    assert refusal["details"]["group"] == "pg-operator.dev"
    assert (refusal["details"]["kind"], refusal["details"]["name"]) == (
        "Database",
        "orders",
    )


@pytest.mark.parametrize("webhook", sorted(ROUTES))
async def test_each_webhook_judges_its_own_kind(tmp_path: Path, webhook: str) -> None:
    """Kopf allows what it finds no handler for; an empty spec shows who looked."""
    review = a_review(
        {"metadata": {"name": "x"}, "spec": {}}, plural=ROUTES[webhook].plural
    )
    async with serving(tmp_path) as served:
        _, answer = await served.post(f"/{webhook}?timeout=5s", review)
    assert answer["status"]["code"] == 422


@pytest.mark.parametrize("webhook", sorted(ROUTES))
async def test_webhook_of_another_kind_is_not_found(
    tmp_path: Path, webhook: str
) -> None:
    """A rule that routes the wrong kind here fails; it never lets objects pass."""
    async with serving(tmp_path) as served:
        for plural in {*PLURALS.values(), "pods"} - {ROUTES[webhook].plural}:
            status, _ = await served.post(
                f"/{webhook}", a_review(a_database(), plural=plural)
            )
            assert status == 404, plural


async def test_finalizer_travels_to_the_api_server_as_a_patch(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        _, answer = await served.post("/mutate-database", a_review(a_database()))
    assert (answer["allowed"], answer["patchType"]) == (True, "JSONPatch")
    assert json.loads(base64.b64decode(answer["patch"])) == [
        {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
    ]


def test_spec_under_review_is_never_copied() -> None:
    """Kopf copies each object; a huge one would keep all others waiting."""
    review = Review.parse(json.dumps(a_review(a_database(), old=a_database())).encode())
    copied = copy.deepcopy(review.document)
    for name in ("object", "oldObject"):
        assert copied["request"][name] == review.document["request"][name]
        original = review.document["request"][name]["spec"]
        assert copied["request"][name]["spec"] is original


def test_review_leaves_out_what_the_api_server_keeps_of_field_managers() -> None:
    """Kopf copies it with each object, and compares it to find its own patch."""
    stored = a_database()
    stored["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {}}]
    review = Review.parse(json.dumps(a_review(stored, old=stored)).encode())
    for name in ("object", "oldObject"):
        assert review.document["request"][name] == a_database()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/validate",
        "/validate-databases",
        "/validate-database/",
        "/validate-database/x",
        "/mutate-database%2Fx",
        "//validate-database",
        "/VALIDATE-DATABASE",
    ],
)
async def test_unknown_path_is_not_found(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served:
        status, _ = await served.post(path, a_review(a_database()))
    assert status == 404


@pytest.mark.parametrize(
    "request_fields",
    [
        pytest.param({"operation": "DELETE", "old": a_database()}, id="delete"),
        pytest.param({"operation": "CONNECT"}, id="connect"),
        pytest.param({"subResource": "status"}, id="subresource"),
    ],
)
async def test_operation_without_rules_is_not_found(
    tmp_path: Path, request_fields: dict[str, Any]
) -> None:
    review = a_review(a_database(), **request_fields)
    async with serving(tmp_path) as served:
        statuses = [(await served.post(f"/{w}", review))[0] for w in ROUTES]
    assert set(statuses) == {404}


def without(field: str) -> dict[str, Any]:
    """Write a review whose request lacks a field."""
    review = a_review(a_database())
    del review["request"][field]
    return review


MALFORMED: Mapping[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"a": "\xff"}',
    "a list": b"[]",
    "a string": b'"AdmissionReview"',
    "null": b"null",
    "too deep": b"[" * 200_000,
    "a number too long": b"1" * 10_000,
    "no request": b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
    "another kind": json.dumps({**a_review(a_database()), "kind": "Pod"}).encode(),
    "another version": json.dumps(
        {**a_review(a_database()), "apiVersion": "admission.k8s.io/v1beta1"}
    ).encode(),
    "no user": json.dumps(without("userInfo")).encode(),
    "no uid": json.dumps(without("uid")).encode(),
    "no resource": json.dumps(without("resource")).encode(),
    "no object": json.dumps(a_review(None)).encode(),
    "no old object": json.dumps(a_review(a_database(), operation="UPDATE")).encode(),
    "an object that is a list": json.dumps(
        {**a_review(None), "request": {**a_review(None)["request"], "object": []}}
    ).encode(),
    "metadata that is null": json.dumps(
        a_review({**a_database(), "metadata": None})
    ).encode(),
    "a request that is a list": json.dumps(
        {**a_review(a_database()), "request": []}
    ).encode(),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
async def test_malformed_review_is_a_bad_request(tmp_path: Path, case: str) -> None:
    async with (
        serving(tmp_path) as served,
        served.client.post(
            served.url + "/validate-database",
            data=MALFORMED[case],
            headers={"Content-Type": "application/json"},
        ) as got,
    ):
        assert got.status == 400
        assert "body must be" in await got.text()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-yaml", ""])
async def test_other_content_type_is_a_bad_request(
    tmp_path: Path, content_type: str
) -> None:
    async with (
        serving(tmp_path) as served,
        served.client.post(
            served.url + "/validate-database",
            data=json.dumps(a_review(a_database())).encode(),
            headers={"Content-Type": content_type},
        ) as got,
    ):
        assert got.status == 400


async def test_body_over_the_limit_is_refused_and_the_next_one_served(
    tmp_path: Path,
) -> None:
    """Two objects of the API server's own limit still fit."""
    review = a_review(a_database())
    big = a_database()
    big["metadata"]["annotations"] = {"note": "x" * (3 * 1024 * 1024)}
    async with serving(tmp_path) as served:
        path = "/validate-database"
        too_big, _ = await served.post(path, {"padding": "x" * BODY_LIMIT})
        update = await served.post(path, a_review(big, old=big))
        create = await served.post(path, review)
    assert too_big == 413
    assert (update[0], update[1]["allowed"]) == (200, True)
    assert (create[0], create[1]["allowed"]) == (200, True)


async def test_two_hundred_reviews_at_once_each_get_their_own_answer(
    tmp_path: Path,
) -> None:
    """Good and bad ones, each on a new connection: no cause reaches another user.

    The deadline, which a busy machine would miss, has a test of its own.
    """
    path = "/validate-database?timeout=99s"
    good, bad = a_review(a_database()), a_review(TYPO_TWICE)
    async with (
        serving(tmp_path) as served,
        client_session(served.authority, limit=200) as client,
    ):
        answers = await asyncio.gather(
            *(served.post(path, review, client=client) for review in [good, bad] * 100)
        )
    allowed = [answer["allowed"] for _, answer in answers]
    causes = [
        len(answer.get("status", {}).get("details", {}).get("causes", []))
        for _, answer in answers
    ]
    assert allowed == [True, False] * 100
    assert causes == [0, 2] * 100


async def test_reviews_on_one_connection_each_have_their_own_causes(
    tmp_path: Path,
) -> None:
    reviews = [a_review(a_database(**spec)) for spec in ({"name": "-"}, {}, BAD, BAD)]
    causes = []
    async with (
        serving(tmp_path) as served,
        client_session(served.authority, limit=1) as client,
    ):
        for review in reviews:
            _, answer = await served.post("/validate-database", review, client=client)
            details = answer.get("status", {}).get("details", {})
            causes.append([cause["field"] for cause in details.get("causes", [])])
    both = ["spec.name", "spec.deletionPolicy"]
    assert causes == [["spec.name"], [], both, both]


async def test_certificate_changes_under_load_without_a_failed_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through a bad pair and a good one, with connections kept and with new ones."""
    caplog.set_level(logging.INFO, logger="certs.reload")
    review = a_review(a_database())
    answers: list[tuple[int, Any]] = []

    def logged(text: str) -> bool:
        return any(text in record.message for record in caplog.records)

    async with serving(tmp_path) as served:
        finished = asyncio.Event()

        async def keep_asking() -> None:
            while not finished.is_set():
                answers.append(await served.post("/validate-database", review))

        async def keep_connecting() -> None:
            while not finished.is_set():
                async with client_session(served.authority) as client:
                    answers.append(
                        await served.post("/validate-database", review, client=client)
                    )

        async def until(text: str) -> None:
            while not logged(text):
                answers.append(await served.post("/validate-database", review))

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        asking += [asyncio.create_task(keep_connecting()) for _ in range(2)]
        old, new = leaf_of(served.authority), leaf_of(served.authority)
        async with asyncio.timeout(20):
            served.mount.publish(
                certificate=new.certificate_pem, key=old.private_key_pem
            )
            await until("Kept serving the old certificate")
            served.mount.publish_pair(new)
            await until("Serves a new certificate")
        finished.set()
        await asyncio.gather(*asking)
    assert [answer for answer in answers if answer[0] != 200] == []


async def test_readiness_is_200_while_serving(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as served,
        served.client.get(served.url + "/readyz") as ready,
    ):
        assert ready.status == 200


async def test_metrics_count_by_path_and_say_when_the_certificate_expires(
    tmp_path: Path,
) -> None:
    """What is sent to a path that is none of ours makes no new series."""
    async with serving(tmp_path) as served:
        await served.post("/validate-database", a_review(a_database()))
        await served.post("/validate-database", a_review(TYPO_TWICE))
        await served.post("/validate-database", {"no": "review"})
        await served.post("/validate-anything", a_review(a_database()))
        async with served.client.get(served.url + "/metrics") as got:
            page = await got.text()
        leaf = x509.load_pem_x509_certificate(served.mount.certificate.read_bytes())
    total = 'controller_runtime_webhook_requests_total{code="%s",webhook="%s"}'
    lines = dict(
        line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
    )
    name = "validate-database"
    assert lines[total % (200, name)] == "2.0"
    assert lines[total % (400, name)] == "1.0"
    latency = "controller_runtime_webhook_latency_seconds"
    assert lines[f'{latency}_count{{webhook="{name}"}}'] == "3.0"
    in_flight = "controller_runtime_webhook_requests_in_flight"
    assert lines[f'{in_flight}{{webhook="{name}"}}'] == "0.0"
    assert "validate-anything" not in page
    refused = 'pgoperator_webhook_refusals_total{rule="%s",webhook="%s"}'
    assert lines[refused % ("name-pattern", name)] == "1.0"
    assert lines[refused % ("choice", name)] == "1.0"
    expiry = lines["pgoperator_webhook_cert_not_after_timestamp_seconds"]
    assert float(expiry) == leaf.not_valid_after_utc.timestamp()


async def test_expired_certificate_is_not_ready(tmp_path: Path) -> None:
    """Without a client that would accept it, only the process itself can say so."""
    async with serving(tmp_path) as served:
        # The connection is made while the certificate is good, and kept.
        async with served.client.get(served.url + "/readyz") as ready:
            assert ready.status == 200
        now = datetime.now(UTC) - timedelta(days=3)
        day = timedelta(days=1)
        authority = issue_authority(common_name="old", now=now, lifetime=day)
        old = issue_leaf(authority, dns_names=["localhost"], now=now, lifetime=day)
        served.mount.publish_pair(old)
        async with asyncio.timeout(10):
            status = 200
            while status == 200:
                async with served.client.get(served.url + "/readyz") as ready:
                    status = ready.status
    assert status == 503


async def test_draining_server_still_answers_but_keeps_no_connection(
    tmp_path: Path,
) -> None:
    """Asked to stop, it says so to the probe and lets go of every client."""
    async with serving(tmp_path, drain_seconds=3600) as served:
        before, _ = await served.post("/validate-database", a_review(a_database()))
        served.stop()
        async with asyncio.timeout(10):
            status = 200
            while status == 200:
                async with served.client.get(served.url + "/readyz") as ready:
                    status = ready.status
        # It must not be killed while it drains.
        async with served.client.get(served.url + "/livez") as alive:
            assert alive.status == 200
        async with served.client.post(
            served.url + "/validate-database", json=a_review(a_database())
        ) as got:
            connection = got.headers["Connection"]
            answer = await got.json()
        # A second request to stop ends the draining itself.
        served.stop()
    assert (before, status, connection) == (200, 503, "close")
    assert answer["response"]["allowed"]


async def test_stopped_server_has_closed_its_listener(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        url = served.url
        served.stop()
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(url + "/readyz")


async def test_review_beyond_its_deadline_is_denied_and_others_go_on(
    tmp_path: Path,
) -> None:
    """The answer comes while the API server still listens (`?timeout=1s`)."""
    release = Event()

    def validate(new: Mapping[str, Any], *, old: object = None) -> Verdict:
        if new["spec"]["name"] == "slow":
            release.wait(timeout=30)
        return Verdict(errors=(), warnings=())

    slow = a_review(a_database(name="slow"))
    async with serving(tmp_path, kinds=databases_only(validate)) as served:
        try:
            overdue = asyncio.create_task(
                served.post("/validate-database?timeout=1s", slow)
            )
            _, fast = await served.post("/validate-database", a_review(a_database()))
            status, answer = await overdue
        finally:
            release.set()
    assert fast["allowed"]
    assert (status, answer["allowed"]) == (200, False)
    assert answer["status"] == {"code": 504, "message": DEADLINE_EXCEEDED}


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        ("1s", 0.9),
        ("5s", 4.5),
        ("30s", 27.0),
        # Not what the API server sends: the shortest of our configurations holds.
        (None, 2.7),
        ("", 2.7),
        ("5", 2.7),
        ("-5s", 2.7),
        ("5000s", 2.7),
        ("1m0s", 2.7),
    ],
)
def test_budget_is_a_tenth_below_what_the_api_server_waits(
    timeout: str | None, seconds: float
) -> None:
    assert budget(timeout) == pytest.approx(seconds)


async def test_body_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with serving(tmp_path) as served:
        with suppress(aiohttp.ClientConnectionError):
            async with served.client.post(
                served.url + "/validate-database?timeout=0s",
                data=endless(),
                headers={"Content-Type": "application/json"},
            ) as got:
                assert got.status == 408
        status, _ = await served.post("/validate-database", a_review(a_database()))
    assert status == 200


async def test_exception_in_a_rule_never_shows_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def validate(new: object, *, old: object = None) -> Verdict:
        raise RuntimeError("postgresql://admin:hunter2@db/")

    async with serving(tmp_path, kinds=databases_only(validate)) as served:
        for webhook in ("mutate-database", "validate-database"):
            status, answer = await served.post(f"/{webhook}", a_review(a_database()))
            assert status == 200
            assert answer["status"] == {"code": 500, "message": INTERNAL_ERROR}
            assert "hunter2" not in json.dumps(answer)
    assert "Failed to check an object" in caplog.text


async def test_exception_in_kopf_never_shows_its_text(tmp_path: Path) -> None:
    async def broken(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("postgresql://admin:hunter2@db/")

    async with serving(tmp_path, fn=broken) as served:
        status, answer = await served.post("/validate-database", a_review(a_database()))
    assert (status, answer["uid"]) == (200, "review-1")
    assert answer["status"] == {"code": 500, "message": INTERNAL_ERROR}
