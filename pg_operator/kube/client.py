"""The API server, as reconcilers and the runtime use it: objects are plain dicts.

What the API server sends is what they see, and what is sent is what is written here.
"""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from pg_operator.api.specs import Kind
from pg_operator.kube.errors import Conflict, Invalid, NotFound
from pg_operator.kube.paths import ImpossibleName, core_path, object_path, path_of
from pg_operator.kube.secrets import SecretData
from pg_operator.kube.transport import (
    APPLY,
    FIELD_MANAGER,
    JSON_PATCH,
    MERGE_PATCH,
    Transport,
)

__all__ = ["MANAGED_BY", "Kubernetes", "core_path", "object_path"]

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": FIELD_MANAGER}

# A resourceVersion that no object has: over an existing one it is a conflict.
_NEVER_STORED: Final = "1"
# All that the API server says of a JSON patch that does not apply, with code 422: for
# us, that its test failed. Webhooks and policies are named in what they say.
# Source: NewGenericServerResponse in k8s.io/apimachinery/pkg/api/errors.
_NOT_APPLICABLE: Final = (
    "the server rejected our request due to an error in our request"
)

Json = dict[str, Any]


class Kubernetes(Transport):
    """Reads and writes objects. Every method raises KubernetesError only."""

    async def read(self, key: tuple[Kind, str, str], /) -> Json | None:
        """Return one object of ours by its kind, namespace and name, or None."""
        with suppress(ImpossibleName):
            return await self.get(object_path(*key))
        return None

    async def read_core(self, plural: str, namespace: str, name: str) -> Json | None:
        """Return one object of Kubernetes' core, or None."""
        with suppress(ImpossibleName):
            return await self.get(core_path(plural, namespace, name))
        return None

    async def get(self, path: str) -> Json | None:
        """Return what is at a path, or None when there is nothing."""
        try:
            return await self.request("GET", path)
        except NotFound:
            return None

    async def patch_status(
        self, obj: Mapping[str, Any], status: Mapping[str, Any], /
    ) -> Json:
        """Merge into an object's status and return the object.

        Raises:
            NotFound: it is gone.
            Conflict: another object has its name by now, and has that status until it
                is reconciled itself.
        """
        stored = await self.request(
            "PATCH",
            f"{path_of(obj)}/status",
            query={"fieldManager": FIELD_MANAGER},
            body={"status": dict(status)},
            content_type=MERGE_PATCH,
        )
        if stored["metadata"]["uid"] != obj["metadata"]["uid"]:
            raise Conflict(f"{obj['kind']} '{obj['metadata']['name']}' is another now")
        return stored

    async def patch_finalizers(
        self, obj: Mapping[str, Any], finalizers: Sequence[str], /
    ) -> Json | None:
        """Replace an object's finalizers and return it, or None when it is gone.

        It may change meanwhile in anything else, however often.

        Raises:
            Conflict: its finalizers are not as they were read, it is being deleted by
                now, or another object has its name.
        """
        path = "/metadata/finalizers"
        as_read = [
            {
                "op": "test",
                "path": f"/metadata/{name}",
                "value": obj["metadata"].get(name),
            }
            for name in ("uid", "deletionTimestamp", "finalizers")
        ]
        try:
            return await self.request(
                "PATCH",
                path_of(obj),
                query={"fieldManager": FIELD_MANAGER},
                body=[*as_read, {"op": "add", "path": path, "value": [*finalizers]}],
                content_type=JSON_PATCH,
            )
        except NotFound:
            return None
        except Invalid as error:
            if str(error) != _NOT_APPLICABLE:
                raise
            raise Conflict("the finalizers are not as they were read") from error

    async def apply(
        self, manifest: Mapping[str, Any], *, over: Mapping[str, Any] | None
    ) -> Json:
        """Apply a manifest server-side, `over` an object as it was read, or as new.

        Within the object, what others set in our fields is taken over.

        Raises:
            Conflict: the object is not as it was read, or one is there already.
        """
        version = _NEVER_STORED if over is None else _version(over)
        metadata = {**manifest["metadata"], "resourceVersion": version}
        return await self.request(
            "PATCH",
            path_of(manifest),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body={**manifest, "metadata": metadata},
            content_type=APPLY,
        )

    async def delete(self, obj: Mapping[str, Any]) -> None:
        """Delete an object as it was read; it may be gone already.

        Raises:
            Conflict: it is not as it was read.
        """
        preconditions = {
            "uid": obj["metadata"]["uid"],
            "resourceVersion": _version(obj),
        }
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
        }
        try:
            await self.request("DELETE", path_of(obj), body=options)
        except NotFound:
            return

    async def read_secret(self, namespace: str, name: str) -> SecretData | None:
        """Return a Secret with its values, or None."""
        secret = await self.read_core("secrets", namespace, name)
        return None if secret is None else SecretData.of(secret)

    async def create_secret(
        self, namespace: str, name: str, data: Mapping[str, bytes]
    ) -> None:
        """Create a Secret, labelled as the operator's.

        Raises:
            Conflict: there is one of that name.
        """
        await self.request(
            "POST",
            core_path("secrets", namespace),
            query={"fieldManager": FIELD_MANAGER},
            body={
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "labels": MANAGED_BY},
                "data": {
                    key: base64.b64encode(value).decode() for key, value in data.items()
                },
            },
        )

    async def update_secret(
        self, secret: Mapping[str, Any], data: Mapping[str, bytes]
    ) -> None:
        """Write these keys of a Secret, which is as it was read.

        Raises:
            Conflict: it is not.
            NotFound: it is gone.
        """
        version = {"resourceVersion": _version(secret)}
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        metadata = secret["metadata"]
        await self.request(
            "PATCH",
            core_path("secrets", metadata["namespace"], metadata["name"]),
            query={"fieldManager": FIELD_MANAGER},
            body={"metadata": version, "data": encoded},
            content_type=MERGE_PATCH,
        )

    async def kube_system_uid(self) -> str:
        """Return the UID of namespace kube-system, which tells clusters apart.

        Raises:
            NotFound: the cluster is so young that it has none yet.
        """
        namespace = await self.read_core("namespaces", "", "kube-system")
        if namespace is None:
            raise NotFound("namespace kube-system does not exist yet")
        return str(namespace["metadata"]["uid"])


def _version(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["resourceVersion"])
