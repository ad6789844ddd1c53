"""What is in a Secret, kept out of every text."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pg_operator.api.secret import SecretText


class SecretError(Exception):
    """A Secret's key is of no use; the text names the key, never the value."""


class SecretKeyNotFound(SecretError):
    """The Secret has no such key."""


class SecretEmpty(SecretError):
    """The key has no value."""


class SecretNotText(SecretError):
    """The value is not UTF-8."""


@dataclass(frozen=True, slots=True)
class SecretData:
    """A Secret's values, which its repr does not show."""

    namespace: str
    name: str
    resource_version: str
    data: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, secret: Mapping[str, Any]) -> Self:
        """Decode a Secret as the API server sent it."""
        metadata = secret["metadata"]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            resource_version=metadata["resourceVersion"],
            data={
                key: base64.b64decode(value)
                for key, value in (secret.get("data") or {}).items()
            },
        )

    def text(self, key: str) -> SecretText:
        """Return a value as text, exactly as it is stored.

        A newline at the end stays, too: a pod that has the Secret as a variable logs
        in with it.

        Raises:
            SecretError: the key is missing (SecretKeyNotFound), the value is empty
                (SecretEmpty) or no UTF-8 text (SecretNotText).
        """
        if key not in self.data:
            raise SecretKeyNotFound(f"Secret '{self.name}' has no key '{key}'; add it")
        try:
            text = self.data[key].decode()
        except UnicodeDecodeError:
            text = None
        if text is None:
            # Raised out here: the decoder's error quotes the value.
            raise SecretNotText(
                f"key '{key}' of Secret '{self.name}' is not UTF-8 text; correct it"
            )
        if not text:
            raise SecretEmpty(
                f"key '{key}' of Secret '{self.name}' is empty; put the value there"
            )
        return SecretText(text)
