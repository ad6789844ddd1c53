"""Where watches, lists and our own writes meet: cache first, then the wakes."""

from collections.abc import Collection, Iterable

from pg_operator.reconcilers.outcome import Object, Wake
from pg_operator.runtime.cache import Cache, Change
from pg_operator.runtime.slim import CachedKind
from pg_operator.runtime.wakes import (
    creator_wakes,
    outside_wakes,
    secret_wakes,
    wakes,
)


class Feed:
    """Takes in what is seen of the API server and wakes whom it concerns.

    Who waited for another object goes ahead of those whose work has not begun: what it
    needs is at hand now, the connection to the database too. Who waited for a whole
    server, or was let in or shut out with its namespace, waited with all the others
    there, and has its turn among them.
    """

    def __init__(self, cache: Cache, *, wake: Wake, operator_namespace: str) -> None:
        self._cache = cache
        self._wake = wake
        self._operator_namespace = operator_namespace

    def event(self, kind: CachedKind, event_type: str | None, obj: Object) -> None:
        """Take in a watch event; no type means that a list had the object."""
        if event_type == "DELETED":
            self._carry(self._cache.remove(kind, obj))
        else:
            self._carry(self._cache.put(kind, obj))

    def listing(
        self, kind: CachedKind, objects: Iterable[Object], *, version: str
    ) -> None:
        """Take in everything there is of a kind."""
        for change in self._cache.replace(kind, objects, version=version):
            self._carry(change)

    def answer(self, kind: CachedKind, obj: Object) -> None:
        """Take in what the API server made of a write of ours."""
        self._carry(self._cache.refresh(kind, obj))

    def gone(self, kind: CachedKind, obj: Object) -> None:
        """Take in that the API server does not know an object any more."""
        self._carry(self._cache.remove(kind, obj))

    def secret(self, namespace: str, name: str, *, is_listed: bool = True) -> None:
        """Take in that a Secret is not what it was.

        Until all `is_listed` nothing is known of what it was, so nobody goes ahead.
        """
        for key in secret_wakes(
            namespace, name, self._cache, operator_namespace=self._operator_namespace
        ):
            self._wake(key, ahead=is_listed)

    def creates_less(
        self, role: Object, /, *, closed: Collection[str], left: Collection[str]
    ) -> None:
        """Take in where a role is kept from creating objects from now on."""
        for key in sorted(creator_wakes(role, self._cache, closed=closed, left=left)):
            self._wake(key, ahead=True)

    def _carry(self, change: Change | None) -> None:
        if change is None:
            return
        metadata = (change.new or change.old or {})["metadata"]
        itself = change.kind, metadata.get("namespace", ""), metadata["name"]
        waited_alone = change.kind in {"Database", "DatabaseRole"}
        woken = wakes(change, self._cache)
        outside = outside_wakes(change, woken, self._cache)
        # In an order of its own: a set of keys has another one in every process.
        for key in sorted(woken):
            ahead = waited_alone and key != itself
            self._wake(key, ahead=ahead, outside=key in outside)
