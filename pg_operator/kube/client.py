"""A small client for the objects we use, over the official package's transport.

Objects travel as plain dicts: what the API server sends is what reconcilers see, and
what is sent is what is written here. One call is one request.
"""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client as official
from kubernetes.aio import config

from pg_operator.api.specs import GROUP, PLURALS, VERSION, Kind
from pg_operator.kube.errors import (
    Conflict,
    Invalid,
    NotFound,
    Unreachable,
    translate,
)
from pg_operator.kube.secrets import SecretData

FIELD_MANAGER: Final = "pg-operator"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
METADATA: Final = "application/json;as={};g=meta.k8s.io;v=v1"
REQUEST_SECONDS: Final = 10.0
# Half-open connections are noticed this much after the server should have ended one.
WATCH_GRACE_SECONDS: Final = 10
OUR_PATHS: Final = f"/apis/{GROUP}/{VERSION}"

Json = dict[str, Any]


class Kubernetes:
    """A session with an API server; use it as an async context manager.

    Every method raises `KubernetesError` for what the API server refuses, and its
    subclass `Unreachable` when it does not answer.
    """

    def __init__(self, api: official.ApiClient) -> None:
        self._api = api

    @classmethod
    async def from_environment(cls) -> Self:
        """Connect by $KUBECONFIG, else as the pod's ServiceAccount.

        The token file of a ServiceAccount is read again as it rotates.
        """
        configuration = official.Configuration()
        if path := os.environ.get("KUBECONFIG"):
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                path, client_configuration=configuration
            )
        else:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                configuration
            )
        configuration.connection_pool_maxsize = 32
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(official.ApiClient(configuration))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def read(self, key: tuple[Kind, str, str], /) -> Json | None:
        """Read one object of ours by its key; None when there is none."""
        return await self.get(object_path(*key))

    async def list(self, path: str) -> tuple[list[Json], str]:
        """List a collection; return its items and the list's resourceVersion."""
        answer = await self.request("GET", path)
        return answer["items"], answer["metadata"]["resourceVersion"]

    async def patch_status(self, obj: Mapping[str, Any], status: Json) -> Json:
        """Merge into an object's status; return the object."""
        return await self.request(
            "PATCH",
            f"{path_of(obj)}/status",
            body={"status": status},
            content_type=MERGE_PATCH,
            query={"fieldManager": FIELD_MANAGER},
        )

    async def patch_finalizers(
        self, obj: Mapping[str, Any], finalizers: Sequence[str]
    ) -> Json | None:
        """Replace an object's finalizers if it is as it was read; None when gone.

        Raises:
            Conflict: it has changed since.
        """
        version = obj["metadata"]["resourceVersion"]
        operation = "replace" if obj["metadata"].get("finalizers") else "add"
        path, tested = "/metadata/finalizers", "/metadata/resourceVersion"
        try:
            return await self.request(
                "PATCH",
                path_of(obj),
                body=[
                    {"op": "test", "path": tested, "value": version},
                    {"op": operation, "path": path, "value": list(finalizers)},
                ],
                content_type=JSON_PATCH,
                query={"fieldManager": FIELD_MANAGER},
            )
        except NotFound:
            return None
        except Invalid as error:
            # A failed test of a JSON patch is answered with 422.
            raise Conflict(str(error)) from None

    async def read_secret(self, namespace: str, name: str) -> SecretData | None:
        """Read a Secret with its values; None when there is none."""
        secret = await self.get(core_path("secrets", namespace, name))
        return None if secret is None else SecretData.of(secret)

    async def create_secret(
        self, namespace: str, name: str, data: Mapping[str, bytes]
    ) -> None:
        """Create a Secret.

        Raises:
            Conflict: there is one of that name.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
            "data": {
                key: base64.b64encode(value).decode() for key, value in data.items()
            },
        }
        await self.request("POST", core_path("secrets", namespace), body=body)

    async def kube_system_uid(self) -> str:
        """Return the UID of namespace kube-system, which tells clusters apart."""
        namespace = await self.request("GET", core_path("namespaces/kube-system"))
        return str(namespace["metadata"]["uid"])

    async def apply(self, manifest: Mapping[str, Any]) -> Json:
        """Apply a whole manifest server-side, taking over what others set in it."""
        return await self.request(
            "PATCH",
            path_of(manifest),
            body=manifest,
            content_type=APPLY_PATCH,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    async def delete(self, obj: Mapping[str, Any]) -> None:
        """Delete an object if it is as it was read; it may be gone already.

        Raises:
            Conflict: it has changed since.
        """
        metadata = obj["metadata"]
        preconditions = {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
        }
        try:
            await self.request("DELETE", path_of(obj), body=body)
        except NotFound:
            return

    async def get(self, path: str) -> Json | None:
        """Read what is at a path; None when there is nothing."""
        try:
            return await self.request("GET", path)
        except NotFound:
            return None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """Send one request and return the object it answers with."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            response = await self._send(method, path, query, headers, body, timeout)
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            name = type(error).__name__
            raise Unreachable(f"the API server does not answer ({name})") from None
        if response.status >= 300:
            raise translate(response.status, content)
        answer: Json = json.loads(content)
        return answer

    async def watch_metadata(
        self, path: str, *, version: str, seconds: int
    ) -> AsyncIterator[Json]:
        """Watch the metadata of a collection, for `seconds` at the most."""
        query = {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        headers = {"Accept": METADATA.format("PartialObjectMetadata")}
        timeout = aiohttp.ClientTimeout(
            total=seconds + WATCH_GRACE_SECONDS, sock_connect=REQUEST_SECONDS
        )
        try:
            response = await self._send("GET", path, query, headers, None, timeout)
            if response.status >= 300:
                raise translate(response.status, await response.read())
            async with response.response as stream:
                async for line in stream.content:
                    yield json.loads(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            name = type(error).__name__
            raise Unreachable(f"a watch was cut ({name})") from None

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: dict[str, str],
        body: Any,
        limits: aiohttp.ClientTimeout,
    ) -> Any:
        call = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        async with asyncio.timeout(limits.total):
            return await self._api.call_api(*call, _request_timeout=limits)


LABELS: Final = {
    "app.kubernetes.io/managed-by": "pg-operator",
    "app.kubernetes.io/part-of": "pg-operator",
}

ALL_PLURALS: Final[Mapping[str, str]] = {
    **{str(kind): plural for kind, plural in PLURALS.items()},
    "Service": "services",
    "EndpointSlice": "endpointslices",
}


def object_path(kind: Kind, namespace: str, name: str = "") -> str:
    """Return the path of an object of ours, or of its collection."""
    return _path(OUR_PATHS, PLURALS[kind], namespace, name)


def core_path(plural: str, namespace: str = "", name: str = "") -> str:
    """Return the path of a core/v1 object, or of its collection."""
    return _path("/api/v1", plural, namespace, name)


def path_of(obj: Mapping[str, Any]) -> str:
    """Return the path of an object by its own apiVersion, kind and name."""
    version, kind, metadata = obj["apiVersion"], obj["kind"], obj["metadata"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = ALL_PLURALS[kind]
    return _path(base, plural, metadata.get("namespace", ""), metadata["name"])


def _path(base: str, plural: str, namespace: str, name: str) -> str:
    parts = [base]
    if namespace:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/".join(parts)
