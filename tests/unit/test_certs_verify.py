"""Certificates are judged as an API server would, without showing a key."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certs.issue import KeyPair, issue_authority, issue_leaf
from certs.verify import (
    age_problem,
    bundle_problem,
    describe_certificates,
    overdue_problem,
    pair_problem,
)
from tests.unit.webhook_bed import an_authority, leaf_of

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def authority_of(begin: datetime) -> KeyPair:
    return issue_authority(common_name="ca", now=begin, lifetime=9 * DAY)


def test_good_pair_has_no_problem() -> None:
    authority = an_authority()
    pair = leaf_of(authority)
    bundle = an_authority().certificate_pem + authority.certificate_pem
    assert pair_problem(pair, bundle=bundle, host="localhost") == ""


def test_pair_that_a_client_refuses_is_refused_in_words() -> None:
    authority, other = an_authority(), an_authority()
    pair = leaf_of(authority)
    bundle = authority.certificate_pem
    mixed = KeyPair(pair.certificate_pem, leaf_of(authority).private_key_pem)
    old = issue_leaf(
        authority_of(NOW - 8 * DAY),
        dns_names=["localhost"],
        now=NOW - 8 * DAY,
        lifetime=DAY,
    )
    for problem, words in (
        (pair_problem(pair, bundle=bundle, host="elsewhere"), "Hostname mismatch"),
        (
            pair_problem(pair, bundle=other.certificate_pem, host="localhost"),
            "not accepted for localhost",
        ),
        (pair_problem(mixed, bundle=bundle, host="localhost"), "do not match"),
        (pair_problem(pair, bundle=b"", host="localhost"), "is not accepted"),
        (pair_problem(old, bundle=bundle, host="localhost"), "is not accepted"),
    ):
        assert words in problem
        assert "PRIVATE" not in problem


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        (b"", "is empty"),
        (b"garbage", "is no PEM bundle"),
        (authority_of(NOW - 10 * DAY).certificate_pem, "expired at"),
        (authority_of(NOW + DAY).certificate_pem, "is not valid before"),
    ],
    ids=["empty", "garbage", "expired", "future"],
)
def test_bundle_that_makes_nothing_trusted_is_a_problem(
    bundle: bytes, words: str
) -> None:
    assert words in bundle_problem(bundle, now=NOW)


def test_bundle_with_one_good_certificate_is_good() -> None:
    old = authority_of(NOW - 10 * DAY).certificate_pem
    good = authority_of(NOW).certificate_pem
    assert bundle_problem(old + good, now=NOW) == ""


def test_certificate_that_nobody_renewed_is_noticed_before_it_expires() -> None:
    pair = authority_of(NOW)
    certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
    assert overdue_problem(certificate, now=NOW + 8 * DAY) == ""
    assert "was not renewed" in overdue_problem(certificate, now=NOW + 8.5 * DAY)
    assert age_problem(certificate, now=NOW + 8.5 * DAY) == ""


def test_description_names_the_certificates_and_no_key() -> None:
    lines = describe_certificates(authority_of(NOW).certificate_pem)
    assert len(lines) == 1
    assert lines[0].startswith("CN=ca, serial ")
