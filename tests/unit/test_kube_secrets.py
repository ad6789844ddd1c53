"""A Secret's values come out one at a time, and never in a text about it."""

import base64
from typing import Any

import pytest

from pg_operator.kube.secrets import (
    SecretData,
    SecretEmpty,
    SecretError,
    SecretKeyNotFound,
    SecretNotText,
)


def a_secret(**values: bytes) -> SecretData:
    """Return a Secret as it is read."""
    stored: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "orders", "resourceVersion": "7"},
        "data": {
            key: base64.b64encode(value).decode() for key, value in values.items()
        },
    }
    return SecretData.of(stored)


def test_secret_value_is_exactly_what_is_stored() -> None:
    secret = a_secret(password="päss word\n".encode())
    assert secret.text("password").reveal() == "päss word\n"
    assert secret.resource_version == "7"


def test_secret_shows_its_values_in_no_repr() -> None:
    secret = a_secret(password=b"hunter2")
    shown = f"{secret!r} {secret} {secret.text('password')!r}"
    assert "hunter2" not in shown
    assert base64.b64encode(b"hunter2").decode() not in shown


@pytest.mark.parametrize(
    ("value", "kind"), [(b"", SecretEmpty), (b"hunter2\xff", SecretNotText)]
)
def test_useless_value_is_refused_by_its_key(
    value: bytes, kind: type[SecretError]
) -> None:
    with pytest.raises(kind, match="key 'password' of Secret 'orders'") as caught:
        a_secret(password=value).text("password")
    # Not even a traceback may quote it, as a decoder's error would.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("stored", [{}, {"data": None}, {"data": {}}])
def test_missing_key_is_refused_by_its_name(stored: dict[str, Any]) -> None:
    metadata = {"namespace": "shop", "name": "orders", "resourceVersion": "7"}
    secret = SecretData.of({"metadata": metadata, **stored})
    with pytest.raises(
        SecretKeyNotFound, match="Secret 'orders' has no key 'password'"
    ):
        secret.text("password")
