"""The succession of authorities: nothing is served that a client does not trust."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from certs.authority import (
    LIFETIME,
    PUBLISHED_FOR,
    RETIRED_FOR,
    Authority,
    AuthorityError,
    advance,
    is_renewal_due,
    split_bundle,
)
from certs.issue import KeyPair, issue_leaf

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DUE = BEGIN + LIFETIME * 2 / 3 + timedelta(hours=1)
SECOND = timedelta(seconds=1)


def begun() -> Authority:
    return advance(None, now=BEGIN, published=False)


def verifies(leaf: KeyPair, bundle: bytes, *, now: datetime) -> bool:
    """Tell whether a client that trusts the bundle accepts the leaf."""
    trusted = x509.load_pem_x509_certificates(bundle)
    policy = PolicyBuilder().store(Store(trusted)).time(now)
    verifier = policy.build_server_verifier(x509.DNSName("localhost"))
    try:
        verifier.verify(x509.load_pem_x509_certificate(leaf.certificate_pem), [])
    except x509.verification.VerificationError:
        return False
    return True


def leaf_of(authority: Authority, *, now: datetime) -> KeyPair:
    return issue_leaf(
        authority.current,
        dns_names=["localhost"],
        now=now,
        lifetime=timedelta(days=90),
    )


def test_first_authority_signs_at_once() -> None:
    authority = begun()
    assert (authority.following, authority.retired) == (None, ())
    assert split_bundle(authority.bundle) == [authority.current.certificate_pem]
    assert verifies(leaf_of(authority, now=BEGIN), authority.bundle, now=BEGIN)


def test_nothing_changes_before_two_thirds_of_its_life() -> None:
    authority = begun()
    before = DUE - timedelta(hours=2)
    assert advance(authority, now=before, published=True) is authority


def test_successor_is_trusted_before_it_signs() -> None:
    authority = begun()
    announced = advance(authority, now=DUE, published=True)
    assert announced.current == authority.current
    assert announced.following is not None
    assert split_bundle(announced.bundle) == [
        authority.current.certificate_pem,
        announced.following.certificate_pem,
    ]


def test_successor_waits_until_it_was_published_for_a_while() -> None:
    announced = advance(begun(), now=DUE, published=True)
    early = DUE + PUBLISHED_FOR - SECOND
    late = DUE + LIFETIME / 4
    assert advance(announced, now=early, published=True) is announced
    assert advance(announced, now=late, published=False) is announced
    promoted = advance(announced, now=DUE + PUBLISHED_FOR, published=True)
    assert promoted.current == announced.following
    assert promoted.retired == (announced.current.certificate_pem,)


def test_predecessor_is_trusted_until_nobody_serves_what_it_signed() -> None:
    announced = advance(begun(), now=DUE, published=True)
    promoted = advance(announced, now=DUE + PUBLISHED_FOR, published=True)
    gone = DUE + PUBLISHED_FOR + RETIRED_FOR
    assert advance(promoted, now=gone - SECOND, published=True) is promoted
    assert advance(promoted, now=gone, published=True).retired == ()


def test_expired_authority_is_replaced_at_once() -> None:
    """A machine that slept for years: waiting would help nobody."""
    authority = begun()
    now = BEGIN + LIFETIME
    fresh = advance(authority, now=now, published=True)
    assert split_bundle(fresh.bundle) == [fresh.current.certificate_pem]
    assert fresh.current != authority.current


def test_rotation_on_request_runs_like_any_other_and_only_once() -> None:
    authority = begun()
    now = BEGIN + timedelta(days=1)
    announced = advance(authority, now=now, published=True, rotate=True)
    assert announced.following is not None
    again = advance(announced, now=now, published=True, rotate=True)
    assert again is announced


@given(
    steps=st.lists(
        st.tuples(st.integers(min_value=1, max_value=60 * 24 * 90), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_client_accepts_what_is_served_however_late_it_learns(
    steps: list[tuple[int, bool]],
) -> None:
    """Whether a bundle arrives at a step or not: until an authority expires."""
    now = BEGIN
    authority = begun()
    client = authority.bundle
    for minutes, arrives in steps:
        now += timedelta(minutes=minutes)
        before = x509.load_pem_x509_certificate(authority.current.certificate_pem)
        if now >= before.not_valid_after_utc:
            return
        authority = advance(authority, now=now, published=client == authority.bundle)
        assert authority.current.certificate_pem in client
        if arrives:
            client = authority.bundle


def test_authority_is_read_as_it_was_written() -> None:
    announced = advance(begun(), now=DUE, published=True)
    promoted = advance(announced, now=DUE + PUBLISHED_FOR, published=True)
    for authority in (begun(), announced, promoted):
        assert Authority.from_data(authority.to_data()) == authority


@pytest.mark.parametrize("state", ["new", "announced"])
def test_every_state_has_the_same_keys_in_the_secret(state: str) -> None:
    """A merge patch of the data then leaves nothing of an older state behind."""
    authority = begun()
    if state == "announced":
        authority = advance(authority, now=DUE, published=True)
    keys = {"tls.crt", "tls.key", "next.crt", "next.key", "ca.crt"}
    assert authority.to_data().keys() == keys


def test_broken_data_is_an_error_that_shows_no_key() -> None:
    one, other = begun(), begun()
    good = one.to_data()
    for change in (
        {"tls.crt": b""},
        {"tls.key": b"garbage"},
        {"tls.key": other.current.private_key_pem},
        {"next.crt": good["tls.crt"], "next.key": b""},
        {"ca.crt": b"garbage"},
    ):
        with pytest.raises(AuthorityError) as caught:
            Authority.from_data(good | change)
        assert "PRIVATE" not in str(caught.value)
        assert next(iter(change))[:3] in str(caught.value)
    with pytest.raises(AuthorityError):
        Authority.from_data({})


def test_renewal_is_due_after_two_thirds_of_the_life() -> None:
    leaf = leaf_of(begun(), now=BEGIN)
    assert not is_renewal_due(leaf, now=BEGIN + timedelta(days=60) - SECOND)
    assert is_renewal_due(leaf, now=BEGIN + timedelta(days=60))
