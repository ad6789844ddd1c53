"""A wrapper that keeps a secret out of every text made from its holder."""

from dataclasses import dataclass
from typing import Final

REDACTED: Final = "<redacted>"


@dataclass(frozen=True, slots=True, repr=False)
class SecretText:
    """A secret string whose repr, str and format are always the same words."""

    _value: str

    def reveal(self) -> str:
        """Return the secret, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED
