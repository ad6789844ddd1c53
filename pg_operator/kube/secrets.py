"""Secrets: values read one at a time, and a watch that never sees any."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pg_operator.api.secret import SecretText


class SecretError(Exception):
    """A key of a Secret is of no use; names the key, never the value."""


@dataclass(frozen=True, slots=True)
class SecretData:
    """A Secret's values, kept out of its repr."""

    name: str
    resource_version: str
    data: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, secret: Mapping[str, Any]) -> Self:
        """Decode a Secret as the API server sent it."""
        metadata = secret["metadata"]
        return cls(
            name=metadata["name"],
            resource_version=metadata["resourceVersion"],
            data={
                key: base64.b64decode(value)
                for key, value in (secret.get("data") or {}).items()
            },
        )

    def text(self, key: str) -> SecretText:
        """Return a value as text, without a newline at its end.

        `echo … | kubectl create secret` leaves one, and nobody means it.

        Raises:
            SecretError: the key is missing, empty, or no UTF-8 text.
        """
        if key not in self.data:
            raise SecretError(f"Secret '{self.name}' has no key '{key}'; add it")
        try:
            text = self.data[key].decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretError(
                f"key '{key}' of Secret '{self.name}' is not UTF-8 text; correct it"
            ) from None
        if not text:
            raise SecretError(
                f"key '{key}' of Secret '{self.name}' is empty; put the value there"
            )
        return SecretText(text)
