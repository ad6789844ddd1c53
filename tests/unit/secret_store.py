"""The Secrets of one namespace, in memory."""

import base64
from typing import Any

from pg_operator.kube.secrets import SecretData

Json = dict[str, Any]


class Store:
    """One namespace's Secrets."""

    def __init__(self) -> None:
        """Begin empty."""
        self.secrets: dict[str, Json] = {}
        self.writes = 0

    async def get(self, path: str) -> Json | None:
        """Return a Secret by the end of its path."""
        return self.secrets.get(path.rpartition("/")[2])

    async def apply(self, manifest: Json, *, over: Json | None) -> Json:
        """Store a Secret as it is applied, over what was read."""
        assert over == self.secrets.get(manifest["metadata"]["name"])
        self.writes += 1
        stored = {
            **manifest,
            "metadata": {**manifest["metadata"], "resourceVersion": "1"},
        }
        self.secrets[manifest["metadata"]["name"]] = stored
        return stored

    async def delete(self, obj: Json) -> None:
        """Delete a Secret."""
        self.writes += 1
        del self.secrets[obj["metadata"]["name"]]

    async def read_secret(self, namespace: str, name: str) -> SecretData | None:
        """Return a Secret with its values, or None."""
        stored = await self.get(f"/namespaces/{namespace}/secrets/{name}")
        return None if stored is None else SecretData.of(stored)

    def entries(self, name: str) -> dict[str, str]:
        """Return what stands in a Secret."""
        data = self.secrets[name]["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
