"""The API server as a command that plans sees it: documents first, and no write."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pg_operator.cli.documents import Documents
from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import NotFound
from pg_operator.reconcilers.outcome import Object

NEW: Final = "0"  # the version of what is not stored


class ReadOnly(Kubernetes):
    """Shows what stands in documents, else what is stored; refuses every write."""

    def __init__(self, kubeconfig: str | None) -> None:
        super().__init__(kubeconfig)
        self.write_only_while(lambda: False)
        self._documents: dict[str, Object] = {}
        self._is_alone = False

    @classmethod
    def alone(cls) -> "ReadOnly":
        """Return one without an API server."""
        kubernetes = cls(None)
        kubernetes._is_alone = True
        return kubernetes

    def show(self, path: str, obj: Object) -> None:
        """Have an object at a path from now on."""
        self._documents[path] = obj

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Answer as the API server would after the documents were applied."""
        if method == "GET" and path in self._documents:
            return dict(self._documents[path])
        if method == "GET" and self._is_alone:
            raise NotFound(f"{path} does not exist")
        return await super().request(method, path, **options)


def show_secrets(kubernetes: ReadOnly, documents: Documents) -> None:
    """Have the Secrets of a file as the API server would store them."""
    for place, secret in documents.secrets.items():
        data = {
            **{key: value.encode() for key, value in _text(secret, "stringData")},
            **{key: base64.b64decode(value) for key, value in _text(secret, "data")},
        }
        show_secret(kubernetes, place, data)


def _text(secret: Object, part: str) -> Iterator[tuple[str, str]]:
    for key, value in (secret.get(part) or {}).items():
        yield str(key), str(value)


def show_secret(
    kubernetes: ReadOnly, place: tuple[str, str], data: Mapping[str, bytes]
) -> None:
    """Have a Secret at a place, its namespace and name."""
    namespace, name = place
    kubernetes.show(
        core_path("secrets", namespace, name),
        {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "resourceVersion": NEW,
            },
            "data": {
                key: base64.b64encode(value).decode() for key, value in data.items()
            },
        },
    )
