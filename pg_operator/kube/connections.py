"""The Secret from which an application connects as a role (Service Binding).

Its keys are those of https://servicebinding.io/spec/core/1.1.0/, "Well-known Secret
Entries". A Secret that was not made for that role is never written.
"""

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote

from pg_operator.api.secret import SecretText
from pg_operator.api.specs import API_VERSION, GROUP
from pg_operator.kube.client import MANAGED_BY, Kubernetes
from pg_operator.kube.differences import differs
from pg_operator.kube.paths import ImpossibleName, core_path
from pg_operator.kube.secrets import SecretData, SecretError

# Names the role's object and the Secret: a copy of it under another name is not ours.
CONNECTION_OF: Final = f"{GROUP}/connection-of"
# The value of the annotation that the password in it was made for.
ROTATED_FOR: Final = f"{GROUP}/rotated-for"
SECRET_TYPE: Final = "servicebinding.io/postgresql"  # noqa: S105 (a type)
CA: Final = "ca.crt"
PASSWORD: Final = "password"  # noqa: S105 (a key)

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConnectionOwner:
    """The DatabaseRole whose Secret it is; with it the Secret goes."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ConnectionDetails:
    """What an application needs to connect."""

    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    username: str
    password: SecretText
    database: str
    sslmode: str
    ca: str | None = None

    def entries(self) -> Mapping[str, str]:
        """Return the entries of the Secret; hosts and ports as libpq lists them."""
        password = self.password.reveal()
        user, secret, database = (
            quote(part, safe="") for part in (self.username, password, self.database)
        )
        places = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for host, port in zip(self.hosts, self.ports, strict=True)
        )
        return {
            "type": "postgresql",
            "provider": "pg-operator",
            "host": ",".join(self.hosts),
            "port": ",".join(map(str, self.ports)),
            "username": self.username,
            PASSWORD: password,
            "database": self.database,
            "sslmode": self.sslmode,
            "uri": (
                f"postgresql://{user}:{secret}@{places}/{database}"
                f"?sslmode={self.sslmode}"
            ),
            **({} if self.ca is None else {CA: self.ca}),
        }


class ForeignSecret(Exception):
    """A Secret of that name was not made for this role."""


@dataclass(frozen=True, slots=True)
class ConnectionSecret:
    """A connection Secret as it is stored."""

    stored: Mapping[str, Any] = field(repr=False)

    @classmethod
    async def read(
        cls, kubernetes: Kubernetes, owner: ConnectionOwner, name: str
    ) -> Self | None:
        """Return the Secret, or None when there is none.

        Raises:
            ForeignSecret: there is one, and it is not this role's.
        """
        with suppress(ImpossibleName):
            stored = await kubernetes.get(core_path("secrets", owner.namespace, name))
            if stored is None:
                return None
            metadata = stored["metadata"]
            annotations = metadata.get("annotations") or {}
            labels = metadata.get("labels") or {}
            is_labelled = MANAGED_BY.items() <= labels.items()
            if is_labelled and annotations.get(CONNECTION_OF) == _mark(owner, name):
                return cls(stored)
        raise ForeignSecret

    @property
    def password(self) -> SecretText | None:
        """The password in it, if it can be one."""
        try:
            text = SecretData.of(self.stored).text(PASSWORD)
        except SecretError:
            return None
        return None if "\0" in text.reveal() else text

    @property
    def rotated_for(self) -> str | None:
        """The annotation's value for which the password was made."""
        annotations: Mapping[str, str] = self.stored["metadata"]["annotations"]
        return annotations.get(ROTATED_FOR)


async def apply_connection(
    kubernetes: Kubernetes,
    *,
    owner: ConnectionOwner,
    name: str,
    details: ConnectionDetails,
    rotated_for: str | None,
    over: ConnectionSecret | None,
) -> None:
    """Write the Secret where it differs from `over`, what was read of it.

    Raises:
        KubernetesError: the API server does not let it; Conflict when somebody else
            wrote meanwhile.
    """
    manifest = _manifest(owner, name, details, rotated_for)
    stored = None if over is None else over.stored
    held = {} if stored is None else stored.get("data") or {}
    if differs(manifest, stored) or CA in held.keys() - manifest["data"].keys():
        await kubernetes.apply(manifest, over=stored)


async def remove_connection(
    kubernetes: Kubernetes, *, owner: ConnectionOwner, name: str
) -> None:
    """Delete a Secret that left the spec, if it was made for this role.

    Raises:
        KubernetesError: the API server does not let it.
    """
    with suppress(ForeignSecret):
        secret = await ConnectionSecret.read(kubernetes, owner, name)
        if secret is not None:
            await kubernetes.delete(secret.stored)


def _manifest(
    owner: ConnectionOwner,
    name: str,
    details: ConnectionDetails,
    rotated_for: str | None,
) -> Manifest:
    annotations = {CONNECTION_OF: _mark(owner, name)}
    if rotated_for is not None:
        annotations[ROTATED_FOR] = rotated_for
    reference = {
        "apiVersion": API_VERSION,
        "kind": "DatabaseRole",
        "name": owner.name,
        "uid": owner.uid,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": MANAGED_BY,
            "annotations": annotations,
            "ownerReferences": [reference],
        },
        "type": SECRET_TYPE,
        "data": {
            key: base64.b64encode(value.encode()).decode()
            for key, value in details.entries().items()
        },
    }


def _mark(owner: ConnectionOwner, name: str) -> str:
    return f"DatabaseRole/{owner.namespace}/{owner.name} Secret/{name}"
