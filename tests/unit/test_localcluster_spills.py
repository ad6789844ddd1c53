"""Secrets in what a run wrote, found by the audit log."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certs.authority import Authority
from certs.issue import KeyPair, issue_authority
from tests.localcluster.spills import AUDIT_LOG, find_spills

PASSWORD = "rarely said by chance"


def test_secret_whose_name_the_api_server_made_up_is_found(tmp_path: Path) -> None:
    """As cert-manager makes one for each key; the request then has no name."""
    event = {
        "verb": "create",
        "objectRef": {"resource": "secrets", "namespace": "default"},
        "responseObject": {
            "metadata": {"name": "made-up-x7k2p", "namespace": "default"},
            "data": {"password": base64.b64encode(PASSWORD.encode()).decode()},
        },
    }
    (tmp_path / AUDIT_LOG).write_text(json.dumps(event) + "\n", encoding="utf-8")

    found = find_spills(tmp_path, pages={"a page": f"it is {PASSWORD}"})
    assert found == ["a page shows password of Secret default/made-up-x7k2p"]
    assert find_spills(tmp_path, pages={"a page": "nothing"}) == []


def test_certificates_of_the_webhooks_authority_may_be_seen(tmp_path: Path) -> None:
    """Also those to come, which caBundle has already; their keys may not."""
    authority = Authority(current=new_authority(), following=new_authority())
    data = {
        key: base64.b64encode(value).decode()
        for key, value in authority.to_data().items()
    }
    event = {
        "verb": "patch",
        "objectRef": {"resource": "secrets"},
        "responseObject": {
            "metadata": {"name": "authority", "namespace": "default"},
            "data": data,
        },
    }
    (tmp_path / AUDIT_LOG).write_text(json.dumps(event) + "\n", encoding="utf-8")

    pages = {"bundle": authority.bundle.decode()}
    assert find_spills(tmp_path, pages=pages) == []
    for key in ("tls.key", "next.key"):
        page = {"a page": authority.to_data()[key].decode()}
        assert find_spills(tmp_path, pages=page) == [
            f"a page shows {key} of Secret default/authority"
        ]


def new_authority() -> KeyPair:
    return issue_authority(
        common_name="an authority", now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
