"""HTTP to the API server: where it is, who we are, and one request a call."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
)

from pg_operator.kube.errors import (
    NotConfigured,
    NotLeading,
    Unreachable,
    translate,
)

FIELD_MANAGER: Final = "pg-operator"
REQUEST_SECONDS: Final = 10.0

APPLY: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
JSON: Final = "application/json"

PAGE: Final = 500

# What the official package throws for a configuration that is missing or broken.
_UNUSABLE: Final = (
    ConfigException,
    OSError,
    yaml.YAMLError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)

Query = Mapping[str, str]
Json = dict[str, Any]
# An object, or the operations of a JSON patch.
Body = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Objects = list[Json]


class Transport:
    """One session with one API server; an async context manager.

    Whatever goes wrong comes out as a KubernetesError. Nothing is retried, but a
    refused token is read anew once: tokens expire.
    """

    def __init__(self, kubeconfig: str | None) -> None:
        """Use a kubeconfig (several paths are merged), or the pod's account if None."""
        self._kubeconfig = kubeconfig
        self._configuration = Configuration(
            # A proxy variable meant for others must not lead to the API server.
            client_session_kwargs={"trust_env": False}
        )
        self._api: ApiClient | None = None
        self._may_write: Callable[[], bool] = lambda: True

    @classmethod
    async def connect(cls, kubeconfig: str | None) -> Self:
        """Read the configuration; the first request opens the first connection.

        Raises:
            NotConfigured: it is missing or broken.
        """
        transport = cls(kubeconfig)
        await transport._load()
        transport._api = ApiClient(transport._configuration)
        transport._api.user_agent = FIELD_MANAGER
        return transport

    @classmethod
    async def from_environment(cls) -> Self:
        """Use $KUBECONFIG, else ~/.kube/config, else the pod's account.

        This is Kopf's order: watches and writes must never go to two API servers.

        Raises:
            NotConfigured: there is none of them.
        """
        return await cls.connect(os.environ.get("KUBECONFIG") or _home_kubeconfig())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()  # type: ignore[no-untyped-call]

    def write_only_while(self, may_write: Callable[[], bool]) -> None:
        """Ask `may_write` before every request that is no GET, and refuse without."""
        self._may_write = may_write

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> dict[str, Any]:
        """Send one request and return the object it is answered with.

        Raises:
            NotLeading: it would write, and another process may lead by now.
            KubernetesError: it was refused, or not answered within 10 s.
        """
        if method != "GET" and not self._may_write():
            raise NotLeading("another controller may lead by now")
        with _translated(method, path):
            response = await self._send(
                method,
                path,
                query=query,
                headers={"Accept": accept, "Content-Type": content_type},
                body=body,
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            )
            return parse(await response.read())

    async def list(
        self,
        path: str,
        *,
        labels: str = "",
        accept: str = JSON,
        keep: Callable[[Json], Mapping[str, Any]] = lambda item: item,
    ) -> tuple[Objects, str]:
        """Return a collection as it was at one resourceVersion, and that.

        It is read page by page; a page is a request.

        `labels` is a label selector; `accept` can ask for less than whole objects, and
        `keep` make less of each, so that never more than a page of whole ones is held.

        Raises:
            KubernetesError: it was refused, or not answered.
        """
        objects: list[Any] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": labels} if labels else {})
        while True:
            page = await self.request("GET", path, query=query, accept=accept)
            for item in page.get("items") or ():
                # Kubernetes' own kinds do not say in a list what they are.
                item.setdefault("apiVersion", page["apiVersion"])
                item.setdefault("kind", page["kind"].removesuffix("List"))
                objects.append(keep(item))
            if not (token := page["metadata"].get("continue")):
                break
            query["continue"] = token
        return objects, page["metadata"]["resourceVersion"]

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Query, accept: str, silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Send a GET and yield what comes, as long as something does.

        Raises:
            KubernetesError: it was refused, broke off, or `silence` seconds passed
                without a byte, which is how a connection looks that is half open.
        """
        with _translated("GET", path):
            response = await self._send(
                "GET",
                path,
                query=query,
                headers={"Accept": accept},
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=REQUEST_SECONDS, sock_read=silence
                ),
            )
            try:
                yield response.content
            finally:
                response.close()

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's own kind)
        body: Body | None = None,
    ) -> aiohttp.ClientResponse:
        """Return a good answer whose body is still to be read."""
        for attempt in ("first", "last"):
            response = await self._call(
                method, path, query=query, headers=headers, body=body, timeout=timeout
            )
            if response.status < 300:
                return response
            content = await response.read()
            if response.status == 401 and attempt == "first":
                await self._load()
                continue
            break
        retry_after = response.headers.get("Retry-After")
        raise translate(response.status, content, retry_after=retry_after)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None,
        headers: Mapping[str, str],
        body: Body | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's own kind)
    ) -> aiohttp.ClientResponse:
        if self._api is None:
            raise NotConfigured("the session with the API server is not open")
        try:
            serialized = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=dict(headers),
                body=body,
                auth_settings=["BearerToken"],
            )
        except ConfigException as error:
            # The pod's token, which is read anew every minute.
            raise Unreachable(f"the ServiceAccount's token: {error}") from error
        answer = await self._api.call_api(*serialized, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _load(self) -> None:
        """Read where the API server is and who we are."""
        try:
            if self._kubeconfig is None:
                load_incluster_config(self._configuration)  # type: ignore[no-untyped-call]
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    self._kubeconfig,
                    client_configuration=self._configuration,
                    persist_config=False,
                )
        except _UNUSABLE as error:
            # Not the error's own text: a parser's may quote a token.
            raise NotConfigured(
                "cannot tell where the API server is: set KUBECONFIG to a kubeconfig, "
                f"or run in a pod with a ServiceAccount ({type(error).__name__})"
            ) from error


def _home_kubeconfig() -> str | None:
    path = Path("~/.kube/config").expanduser()
    return str(path) if path.exists() else None


def parse(content: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        Unreachable: it is none, so what answered is no API server.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unreachable("what answered is not an API server: it sent no JSON object")
    return answer


@contextmanager
def _translated(method: str, path: str) -> Iterator[None]:
    """Make our error of what the network throws."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Unreachable(f"{method} {path}: {words}") from error
