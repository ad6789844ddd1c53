"""Marks: the COMMENT that says which API object a database or role belongs to.

Every role of a server can read comments, so a mark is sealed: AES-GCM, with the
object's own kind and name bound to it, so that it cannot be copied to another object.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.secret import SecretText
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.state import Claimant, Mark, Marked, RoleParameter, UnverifiedMark

CURRENT: Final = "current"
PREFIX: Final = "managed by pg-operator; do not edit this comment."
FORMAT: Final = "v1"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
# Every object has a kind and a database.
SHORTEST: Final = 2
OPTION: Final = "*"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one operator: the current one seals, every one opens."""

    current: str
    _keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> "Keyring":
        """Read a Secret's data: `current` names a key, each other entry is one.

        Raises:
            ValueError: no current key, or one that is too short; holds no key.
        """
        keys = {name: key for name, key in data.items() if name != CURRENT}
        current = data.get(CURRENT, b"").decode(errors="replace").strip()
        if current not in keys:
            raise ValueError('the entry "current" does not name one of the keys')
        for name, key in keys.items():
            if len(key) < KEY_BYTES:
                raise ValueError(f'the key "{name}" is shorter than {KEY_BYTES} bytes')
        return cls(current, keys)

    @staticmethod
    def generate() -> dict[str, bytes]:
        """Make the data of a Secret with one new key."""
        name = f"k{os.urandom(4).hex()}"
        return {CURRENT: name.encode(), name: os.urandom(KEY_BYTES)}

    def seal(self, mark: Mark, *, on: str) -> str:
        """Return the comment for `on`, "role:NAME" or "database:NAME"."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = zlib.compress(
            json.dumps(_pack(mark), separators=(",", ":"), sort_keys=True).encode()
        )
        sealed = nonce + self._cipher(self.current).encrypt(nonce, plain, on.encode())
        text = base64.b64encode(sealed).decode()
        return f"{PREFIX} {FORMAT} {self.current} {text}"

    def open_comment(self, comment: str | None, *, on: str) -> Marked:
        """Return the mark in a comment, None when it does not say that it is ours."""
        if comment is None or not comment.startswith(PREFIX):
            return None
        match comment.removeprefix(PREFIX).split():
            case [version, key, text] if version == FORMAT and key in self._keys:
                return self._open(key, text, on=on)
        return UnverifiedMark()

    def fingerprint(self, password: SecretText, *, role: str) -> str:
        """Return a keyed hash of a role's password: fit for a status."""
        text = f"{role}\0{password.reveal()}".encode()
        key = _derive(self._keys[self.current], "password fingerprint")
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(_derive(self._keys[name], "mark"))

    def _open(self, name: str, text: str, *, on: str) -> Marked:
        try:
            sealed = base64.b64decode(text, validate=True)
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            plain = self._cipher(name).decrypt(nonce, body, on.encode())
        except (binascii.Error, InvalidTag, ValueError):
            return UnverifiedMark()
        # What our key has sealed, we have written: no need to distrust its shape.
        return _unpack(json.loads(zlib.decompress(plain)))


def _derive(key: bytes, purpose: str) -> bytes:
    """Return a key of its own for each purpose."""
    return hmac.new(key, f"pg-operator {purpose}".encode(), hashlib.sha256).digest()


def _pack(mark: Mark) -> dict[str, Any]:
    claimant = mark.claimant
    packed: dict[str, Any] = {
        "by": [
            claimant.owner_id,
            claimant.kind,
            claimant.namespace,
            claimant.namespace_uid,
            claimant.name,
        ],
        "state": mark.state,
        "scope": _pack_scope(mark.scope),
        "member_of": sorted(mark.memberships),
        "attributes": sorted(mark.attributes),
        "settings": sorted([one.database, one.name] for one in mark.role_parameters),
        "parameters": sorted(mark.parameters),
        "extensions": sorted(mark.extensions),
        "adopted": mark.adopted,
        "password": mark.password,
        "verifier": mark.verifier,
        "comment": mark.foreign_comment,
    }
    return {key: value for key, value in packed.items() if value}


def _unpack(packed: Mapping[str, Any]) -> Mark:
    return Mark(
        claimant=Claimant(*packed["by"]),
        state=packed["state"],
        scope=_unpack_scope(packed.get("scope", ())),
        memberships=frozenset(packed.get("member_of", ())),
        attributes=frozenset(packed.get("attributes", ())),
        role_parameters=frozenset(
            RoleParameter(name, database)
            for database, name in packed.get("settings", ())
        ),
        parameters=frozenset(packed.get("parameters", ())),
        extensions=frozenset(packed.get("extensions", ())),
        adopted=packed.get("adopted", False),
        password=packed.get("password"),
        verifier=packed.get("verifier"),
        foreign_comment=packed.get("comment"),
    )


def _pack_scope(scope: Grants) -> list[list[Any]]:
    """Write each object once: its words, then its fields up to the last one set.

    A word with the grant option has a star behind it, as in an ACL.
    """
    words: dict[Securable, list[str]] = {}
    for grant in sorted(scope):
        star = OPTION if grant.grantable else ""
        words.setdefault(grant.on, []).append(f"{grant.privilege}{star}")
    return [[privileges, *_fields(on)] for on, privileges in words.items()]


def _fields(on: Securable) -> list[Any]:
    values = list(on)
    while not values[-1] and len(values) > SHORTEST:
        values.pop()
    return values


def _securable(kind: ObjectKind, *fields: Any) -> Securable:
    values: list[Any] = [
        tuple(each) if isinstance(each, list) else each for each in fields
    ]
    return Securable(kind, *values)


def _unpack_scope(packed: list[list[Any]]) -> Grants:
    return frozenset(
        Grant(
            _securable(*fields),
            privilege.removesuffix(OPTION),
            grantable=privilege.endswith(OPTION),
        )
        for privileges, *fields in packed
        for privilege in privileges
    )
