"""Certificates of the bed: each server has an authority of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from certs.issue import KeyPair, issue_authority, issue_leaf

LOOPBACK = "127.0.0.1"
LIFETIME = timedelta(days=365)


def issue_for(names: Sequence[str] = ()) -> tuple[KeyPair, KeyPair]:
    """Return a new authority, and what it issued for loopback and these DNS names."""
    now = datetime.now(UTC)
    authority = issue_authority(
        common_name="pg-operator test bed", now=now, lifetime=LIFETIME
    )
    leaf = issue_leaf(
        authority,
        dns_names=names,
        ip_addresses=[LOOPBACK],
        now=now,
        lifetime=LIFETIME,
    )
    return authority, leaf
