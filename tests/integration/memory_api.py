"""An API server in memory: what the operator's client sends is stored and answered."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import Conflict, Invalid, NotFound
from pg_operator.kube.transport import APPLY, JSON, JSON_PATCH, Query

Json = dict[str, Any]
# The resourceVersion that only a new object can be applied with.
NEW = "1"


class Place(NamedTuple):
    """Where an object is stored; of a collection, `name` is empty."""

    plural: str
    namespace: str
    name: str


class MemoryAPI(Kubernetes):
    """Stores objects as an API server does, with versions, finalizers and conflicts.

    What only gone objects own goes with them. `before` and `after` are called around
    each request. There is no admission and no watch.
    """

    def __init__(
        self, *, before: Callable[[], None], after: Callable[[str], None]
    ) -> None:
        super().__init__(None)
        self.objects: dict[Place, Json] = {}
        self._versions = itertools.count(1000)
        self._before = before
        self._after = after

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,  # noqa: ARG002 (who writes is known)
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,  # noqa: ARG002 (objects are always whole)
    ) -> Json:
        """Answer one request."""
        self._before()
        place, subresource = _parse(path)
        try:
            answer = self._answer(method, place, subresource, body or {}, content_type)
            return copy.deepcopy(answer)
        finally:
            self._after(f"{method} {path}")

    def put(self, place: Place, obj: Json) -> None:
        """Store what a user applies: metadata that the API server gives is kept."""
        old = self.objects.get(place)
        if old is None:
            self._create(place, obj)
            return
        metadata = old["metadata"] | obj["metadata"]
        self._store(place, {**old, **obj, "metadata": metadata})

    def delete_at(self, place: Place) -> None:
        """Delete what is there; with a finalizer it only begins to go."""
        stored = self.objects[place]
        if stored["metadata"].get("finalizers"):
            gone = {"deletionTimestamp": "2026-11-25T12:00:00Z"}
            self._store(place, {**stored, "metadata": stored["metadata"] | gone})
        else:
            self._remove(place)

    def _answer(
        self,
        method: str,
        place: Place,
        subresource: str,
        body: Any,
        content_type: str,
    ) -> Json:
        if method == "POST":
            place = place._replace(name=body["metadata"]["name"])
            if place in self.objects:
                raise Conflict("already exists")
            return self._create(place, dict(body))
        if not place.name:
            return self._list(place)
        if content_type == APPLY:
            return self._apply(place, dict(body))
        if place not in self.objects:
            raise NotFound("not found")
        if method == "PATCH":
            if content_type == JSON_PATCH:
                body = _as_merge_patch(self.objects[place], body)
            return self._patch(place, subresource, body)
        if method == "DELETE":
            self._check_version(place, body["preconditions"])
            self.delete_at(place)
            return {}
        return self.objects[place]

    def _list(self, place: Place) -> Json:
        items = [
            obj
            for (plural, namespace, _), obj in sorted(self.objects.items())
            if plural == place.plural and place.namespace in {"", namespace}
        ]
        return {
            "apiVersion": "v1",
            "kind": "List",
            "metadata": {"resourceVersion": str(next(self._versions))},
            "items": items,
        }

    def _apply(self, place: Place, body: Json) -> Json:
        """Apply as the only writer of all that is in the object."""
        stored = self.objects.get(place)
        if stored is None:
            if body["metadata"].pop("resourceVersion") != NEW:
                raise NotFound("not found")
            return self._create(place, body)
        self._check_version(place, body["metadata"])
        return self._store(
            place, {**body, "metadata": stored["metadata"] | body["metadata"]}
        )

    def _patch(self, place: Place, subresource: str, body: Mapping[str, Any]) -> Json:
        stored = self.objects[place]
        if "resourceVersion" in body.get("metadata", {}):
            self._check_version(place, body["metadata"])
        if subresource == "status":
            status = _merged(stored.get("status", {}), body["status"])
            return self._store(place, {**stored, "status": status})
        new = self._store(place, _merged(stored, body))
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._remove(place)
        return new

    def _remove(self, place: Place) -> None:
        del self.objects[place]
        living = {obj["metadata"]["uid"] for obj in self.objects.values()}
        for owned, obj in tuple(self.objects.items()):
            owners = obj["metadata"].get("ownerReferences", ())
            if owners and living.isdisjoint(owner["uid"] for owner in owners):
                self._remove(owned)

    def _check_version(self, place: Place, metadata: Mapping[str, Any]) -> None:
        stored = self.objects[place]["metadata"]["resourceVersion"]
        if metadata["resourceVersion"] != stored:
            raise Conflict("the object has been modified")

    def _create(self, place: Place, obj: Json) -> Json:
        scope = {"namespace": place.namespace} if place.namespace else {}
        given = {"uid": f"uid-{next(self._versions)}", **scope}
        metadata = given | obj["metadata"]
        return self._store(place, {**obj, "metadata": metadata})

    def _store(self, place: Place, obj: Json) -> Json:
        """Store a version; what changes nothing makes none."""
        old = self.objects.get(place)
        if obj == old:
            return old
        is_other = old is None or old.get("spec") != obj.get("spec")
        generation = (old or {}).get("metadata", {}).get("generation", 0) + is_other
        version = str(next(self._versions))
        given = {"resourceVersion": version, "generation": generation}
        stored: Json = {**obj, "metadata": obj["metadata"] | given}
        self.objects[place] = stored
        return stored


def _parse(path: str) -> tuple[Place, str]:
    """Return what a path is about, and its subresource."""
    _, root, *rest = path.split("/")
    rest = rest[1:] if root == "api" else rest[2:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    return Place(plural, namespace, name), subresource


def _as_merge_patch(stored: Json, operations: Sequence[Mapping[str, Any]]) -> Json:
    """Return the merge patch that does what a JSON patch of metadata's fields does."""
    metadata = {}
    for operation in operations:
        _, name = operation["path"].strip("/").split("/")
        if operation["op"] == "add":
            metadata[name] = operation["value"]
        elif stored["metadata"].get(name) != operation["value"]:
            raise Invalid("the server rejected our request")
    return {"metadata": metadata}


def _merged(value: object, patch: object) -> Any:
    """Return a value with a JSON merge patch (RFC 7386) applied."""
    if not isinstance(patch, Mapping):
        return patch
    old = value if isinstance(value, Mapping) else {}
    merged = {name: old[name] for name in old if name not in patch}
    for name, part in patch.items():
        if part is not None:
            merged[name] = _merged(old.get(name), part)
    return merged
