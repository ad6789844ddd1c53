"""An API server's refusals keep their meaning and lose nothing that helps."""

import json

import pytest

from pg_operator.kube.errors import (
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    KubernetesError,
    NamespaceTerminating,
    NotFound,
    TooManyRequests,
    Unreachable,
    translate,
)


def status(message: str, *causes: dict[str, str]) -> bytes:
    """Return the body of a metav1.Status."""
    return json.dumps(
        {"kind": "Status", "message": message, "details": {"causes": list(causes)}}
    ).encode()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Expired),
        (413, Invalid),
        (415, Invalid),
        (422, Invalid),
        (429, TooManyRequests),
        (500, Unreachable),
        (503, Unreachable),
        (504, Unreachable),
    ],
)
def test_status_code_tells_the_error(code: int, kind: type[KubernetesError]) -> None:
    error = translate(code, status("what the API server says"))
    assert type(error) is kind
    assert str(error) == "what the API server says"


def test_refusal_in_a_terminating_namespace_is_known_from_missing_rights() -> None:
    cause = {"reason": "NamespaceTerminating", "message": "namespace x is being ..."}
    error = translate(403, status("forbidden", cause))
    assert isinstance(error, NamespaceTerminating)


def test_invalid_names_the_fields_once_and_not_their_values() -> None:
    causes = (
        {"field": "spec.externalName", "message": 'Invalid value: "pg_1"'},
        {"field": "spec.externalName", "message": "must be lower case"},
        {"field": "metadata.name", "message": "must be a DNS label"},
    )
    error = translate(422, status("Service is invalid", *causes))
    assert isinstance(error, Invalid)
    assert error.fields == ("spec.externalName", "metadata.name")


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), (None, None), ("soon", None)]
)
def test_too_many_requests_says_how_long_to_wait(
    header: str | None, seconds: float | None
) -> None:
    error = translate(429, status("slow down"), retry_after=header)
    assert isinstance(error, TooManyRequests)
    assert error.retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"details": null}'])
def test_answer_of_something_else_still_makes_an_error(body: bytes) -> None:
    assert isinstance(translate(502, body), Unreachable)
    assert str(translate(502, body)) == "HTTP status 502"
