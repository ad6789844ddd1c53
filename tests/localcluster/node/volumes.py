"""A pod's volumes: directories that follow Secrets, ConfigMaps and tokens."""

import base64
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.localcluster.node.api import Api, ApiError, Json

# A kubelet asks for a new token when a fifth of the old one's life is left.
TOKEN_SHARE = 0.8


class VolumeError(Exception):
    """A volume cannot be made (yet); the text says why."""


class Volumes:
    """The volumes of one pod."""

    def __init__(self, api: Api, pod: Json, *, directory: Path) -> None:
        """Keep the volumes of `pod` below `directory`."""
        self._api = api
        self._pod = pod
        self._directory = directory
        self._namespace: str = pod["metadata"]["namespace"]
        self._tokens: dict[str, tuple[str, float]] = {}

    def source(self, name: str) -> Path:
        """Return the directory of a volume."""
        return self._directory / name

    def refresh(self) -> None:
        """Make every volume what its sources say. Raises VolumeError."""
        for volume in self._pod["spec"].get("volumes", []):
            target = self.source(volume["name"])
            target.mkdir(parents=True, exist_ok=True)
            if "emptyDir" in volume:
                target.chmod(0o777)
            else:
                write_atomically(target, self._payload(volume))

    def _payload(self, volume: Mapping[str, Any]) -> dict[str, bytes]:
        name, kinds = volume["name"], volume.keys() - {"name"}
        if "projected" in kinds:
            sources = volume["projected"]["sources"]
        elif kinds <= {"secret", "configMap", "downwardAPI"}:
            (kind,) = kinds
            source = dict(volume[kind])
            # The one place where a Secret is named by another field.
            source.setdefault("name", source.pop("secretName", ""))
            sources = [{kind: source}]
        else:
            raise VolumeError(f'volume "{name}": the node knows no {sorted(kinds)}')
        files: dict[str, bytes] = {}
        for source in sources:
            ((kind, what),) = source.items()
            files |= self._projection(kind, what)
        return files

    def _projection(self, kind: str, what: Mapping[str, Any]) -> dict[str, bytes]:
        readers: dict[str, Callable[[Mapping[str, Any]], dict[str, bytes]]] = {
            "secret": self._secret,
            "configMap": self._config_map,
            "downwardAPI": self._downward,
            "serviceAccountToken": self._token,
        }
        if kind not in readers:
            raise VolumeError(f"the node knows no projection of {kind}")
        return readers[kind](what)

    def _secret(self, what: Mapping[str, Any]) -> dict[str, bytes]:
        data = self._read("secrets", what).get("data", {})
        decoded = {key: base64.b64decode(value) for key, value in data.items()}
        return chosen(decoded, what)

    def _config_map(self, what: Mapping[str, Any]) -> dict[str, bytes]:
        data = self._read("configmaps", what).get("data", {})
        return chosen({key: text.encode() for key, text in data.items()}, what)

    def _read(self, plural: str, what: Mapping[str, Any]) -> Json:
        try:
            path = f"/api/v1/namespaces/{self._namespace}/{plural}/{what['name']}"
            return self._api.get(path)
        except ApiError as error:
            if error.code == 404 and what.get("optional"):
                return {}
            raise VolumeError(str(error)) from error

    def _downward(self, what: Mapping[str, Any]) -> dict[str, bytes]:
        return {
            item["path"]: field_of(self._pod, item["fieldRef"]["fieldPath"]).encode()
            for item in what["items"]
        }

    def _token(self, what: Mapping[str, Any]) -> dict[str, bytes]:
        audience = what.get("audience", "")
        token, renewal = self._tokens.get(audience, ("", 0.0))
        if time.time() >= renewal:
            token, renewal = self._ask_token(what, audience)
            self._tokens[audience] = (token, renewal)
        return {what["path"]: token.encode()}

    def _ask_token(self, what: Mapping[str, Any], audience: str) -> tuple[str, float]:
        metadata = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"]}
        spec = {
            "expirationSeconds": what.get("expirationSeconds", 3600),
            "audiences": [audience] if audience else [],
            "boundObjectRef": bound | {"uid": metadata["uid"]},
        }
        account = self._pod["spec"]["serviceAccountName"]
        accounts = f"/api/v1/namespaces/{self._namespace}/serviceaccounts"
        now = time.time()
        answer = self._api.create(f"{accounts}/{account}/token", {"spec": spec})
        status = answer["status"]
        expires = datetime.fromisoformat(status["expirationTimestamp"]).timestamp()
        return status["token"], now + (expires - now) * TOKEN_SHARE


def chosen(data: Mapping[str, bytes], what: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of a Secret or ConfigMap, `items` as they rename them."""
    if "items" not in what:
        return dict(data)
    missing = [item["key"] for item in what["items"] if item["key"] not in data]
    if missing and not what.get("optional"):
        raise VolumeError(f"{what['name']} has no {missing}")
    return {
        item["path"]: data[item["key"]] for item in what["items"] if item["key"] in data
    }


def field_of(pod: Json, path: str) -> str:
    """Return the field of a pod that the downward API calls `path`."""
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def write_atomically(target: Path, files: Mapping[str, bytes]) -> None:
    """Bring a volume to `files` in one step, laid out as a kubelet does.

    The files lie in a directory of their own; `..data` leads to it and is replaced as a
    whole, so that a certificate and its key never come from different versions.
    """
    data = target / "..data"
    if data.exists() and contents(data) == dict(files):
        return
    before = data.resolve() if data.exists() else None
    fresh = target / f"..{uuid4().hex}"
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o640)
    fresh.mkdir(exist_ok=True)
    switch(data, fresh.name)
    _link(target, files)
    if before is not None:
        shutil.rmtree(before)


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory by its relative path."""
    real = directory.resolve()
    return {
        str(path.relative_to(real)): path.read_bytes()
        for path in real.rglob("*")
        if path.is_file()
    }


def switch(link: Path, to: str) -> None:
    """Let `link` lead to another name, without a moment at which it leads nowhere."""
    draft = link.with_name("..data_tmp")
    draft.symlink_to(to)
    draft.replace(link)


def _link(target: Path, files: Iterable[str]) -> None:
    """Give every top-level name of the files a link through `..data`."""
    wanted = {Path(name).parts[0] for name in files}
    for path in target.iterdir():
        if path.is_symlink() and path.name not in wanted | {"..data"}:
            path.unlink()
    for name in wanted:
        if not (target / name).is_symlink():
            (target / name).symlink_to(f"..data/{name}")
