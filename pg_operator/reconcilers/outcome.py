"""What a reconciler returns, and what it is given to look things up with."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple, Protocol

from pg_operator.api.conditions import Condition
from pg_operator.api.specs import DatabaseSpec, Kind

Object = Mapping[str, Any]
"""A stored API object, as the API server sent it."""


class Key(NamedTuple):
    """Names one object of our kinds; `namespace` is empty for a DatabaseCluster."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        scope = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {scope}{self.name}"


def key_of(kind: Kind, obj: Object) -> Key:
    """Return the key of a stored object."""
    metadata = obj["metadata"]
    return Key(kind, metadata.get("namespace", ""), metadata["name"])


def is_deleting(obj: Object) -> bool:
    """Tell whether an object's deletion has begun."""
    return "deletionTimestamp" in obj["metadata"]


def annotation_of(obj: Object, name: str) -> str | None:
    """Return the value of one of an object's annotations; None without it."""
    annotations: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return annotations.get(name)


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event to post about the reconciled object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one reconcile; the runtime carries it out.

    `conditions` and `status` (every other status field; None removes one) are stored by
    one PATCH if they differ from what is stored. `release` removes our finalizer.
    `retry` runs the key again after its backoff, `requeue_after` after that time;
    with neither, a wake or the resync does. Where `is_settled`, the rest is empty: what
    is stored is true as far as it was looked at, which was not inside of databases.
    """

    conditions: tuple[Condition, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    requeue_after: timedelta | None = None
    retry: bool = False
    release: bool = False
    is_settled: bool = False


class Objects(Protocol):
    """The cache, as reconcilers see it. Nothing here does I/O."""

    def get(self, key: Key) -> Object | None:
        """Return the object of that key, if it exists."""

    def of_cluster(self, kind: Kind, cluster: str) -> Iterable[Object]:
        """Return the Databases or DatabaseRoles that name a DatabaseCluster."""

    def named(self, kind: Kind, cluster: str, name: str) -> Iterable[Object]:
        """Return those of them that ask for a name there."""

    def sharing(self, namespace: str, service: str) -> Iterable[Object]:
        """Return the Databases of a namespace that keep a Service there alive."""

    def declared(self, database: Object) -> DatabaseSpec | None:
        """Return what a stored Database declares; None when that breaks a rule."""

    def namespace(self, name: str) -> Object | None:
        """Return a Namespace, if it exists."""


class Wake(Protocol):
    """Queues a key, on request ahead of others, or for a look from outside only."""

    def __call__(
        self, key: Key, /, *, ahead: bool = False, outside: bool = False
    ) -> None:
        """Queue it."""


class CreatesLess(Protocol):
    """Wakes those whose default privileges are there for what a role creates.

    `closed` are the databases in which it may create less than before, `left` the
    groups whose rights it lost: no object says that of it any more.
    """

    def __call__(
        self, role: Object, /, *, closed: Collection[str], left: Collection[str]
    ) -> None:
        """Wake them."""
