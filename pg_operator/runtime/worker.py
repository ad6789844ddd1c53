"""One key's run: finalizer, reconcile, status, events, and when to look again."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from pg_operator.api.specs import FINALIZER
from pg_operator.kube.errors import (
    Conflict,
    KubernetesError,
    NotFound,
    TooManyRequests,
)
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome, is_deleting
from pg_operator.runtime.cache import Cache
from pg_operator.runtime.feed import Feed
from pg_operator.runtime.health import Metrics
from pg_operator.runtime.limits import Limits
from pg_operator.runtime.logs import current_object
from pg_operator.runtime.queue import WorkQueue
from pg_operator.runtime.status import status_patch

logger = logging.getLogger(__name__)

MOST_CONFLICTS: Final = 5


class Writer(Protocol):
    """What a worker needs of the API server."""

    async def read(self, key: Key, /) -> dict[str, Any] | None:
        """Return an object as it is stored now."""

    async def patch_status(
        self, obj: Object, status: dict[str, Any], /
    ) -> dict[str, Any]:
        """Merge into an object's status."""

    async def patch_finalizers(
        self, obj: Object, finalizers: Sequence[str], /
    ) -> dict[str, Any] | None:
        """Replace an object's finalizers, if they are as we know them."""


class Poster(Protocol):
    """Posts Kubernetes Events."""

    async def post(
        self, obj: Object, event_type: str, reason: str, message: str, /
    ) -> None:
        """Post an Event about an object; never raises."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs keys: one run at a time for a key, any number for different ones.

    `now` is asked for the time, which a status shows and resyncs go by: it is the same
    for whoever leads next.
    """

    cache: Cache
    feed: Feed
    queue: WorkQueue[Key]
    limits: Limits
    reconcile: Callable[[Key], Awaitable[Outcome]]
    kubernetes: Writer
    events: Poster
    metrics: Metrics
    now: Callable[[], datetime]

    async def work(self, key: Key) -> None:
        """Run a key that was taken from the queue; never raises."""
        current_object.set(str(key))
        with self.metrics.timed(key):
            try:
                result = await self._run(key)
            except KubernetesError as error:
                asked = error.retry_after if isinstance(error, TooManyRequests) else 0
                result, delay = "error", self.queue.retry(key, at_least=asked or 0)
                logger.warning("Failed, trying again in %.1f s: %s", delay, error)
            except Exception:
                result, delay = "error", self.queue.retry(key)
                logger.exception("Failed unexpectedly, trying again in %.1f s", delay)
            finally:
                self.queue.done(key)
        self.metrics.reconciled(key, result)

    async def _run(self, key: Key) -> str:
        """Reconcile a key and carry the outcome out; return a word for the metrics."""
        obj = self.cache.get(key)
        if obj is not None and FINALIZER not in _finalizers(obj):
            await self._set_finalizers(key, obj, _held)
            obj = self.cache.get(key)
            if obj is None or FINALIZER not in _finalizers(obj):
                self.queue.forget(key)
                return "success"
        # From here to the first wait of `reconcile` nothing else runs, so that it
        # works on this very object.
        begun = self.now()
        outcome = await self.reconcile(key)
        if obj is None:
            self.queue.forget(key)
            return "success"
        if outcome.is_settled:
            self.queue.forget(key)
            # Since it began: its slot may have come meanwhile.
            slot = self.limits.until_entered(key, now=begun.timestamp())
            passed = (self.now() - begun).total_seconds()
            self.queue.add_after(key, max(0.0, slot - passed), unhurried=True)
            return "success"
        if outcome.release:
            await self._set_finalizers(key, obj, _released)
        else:
            await self._write_status(key, obj, outcome)
        await self._post(obj, outcome.events)
        return self._schedule(key, outcome)

    async def _set_finalizers(
        self, key: Key, obj: Object, wanted: Callable[[Object], list[str]]
    ) -> None:
        """Write the finalizers that are wanted of an object.

        Raises:
            Conflict: others changed its finalizers each time.
        """
        for _ in range(MOST_CONFLICTS):
            finalizers = wanted(obj)
            if finalizers == _finalizers(obj):
                return
            try:
                answer = await self.kubernetes.patch_finalizers(obj, finalizers)
            except Conflict:
                found = await self.kubernetes.read(key)
                if found is None or not _is_same(found, obj):
                    self.feed.gone(key.kind, obj)
                    return
                self.feed.answer(key.kind, found)
                obj = found
            else:
                if answer is None:
                    self.feed.gone(key.kind, obj)
                else:
                    self.feed.answer(key.kind, answer)
                return
        raise Conflict("others change the finalizers faster than ours can be written")

    async def _write_status(self, key: Key, obj: Object, outcome: Outcome) -> None:
        """Patch the status where it differs from what is stored by now."""
        stored = self.cache.get(key)
        if stored is None or not _is_same(stored, obj):
            return
        patch = status_patch(
            stored,
            outcome,
            generation=obj["metadata"]["generation"],
            now=self.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        if patch is None:
            return
        try:
            answer = await self.kubernetes.patch_status(stored, patch)
        except NotFound:
            self.feed.gone(key.kind, stored)
        else:
            self.feed.answer(key.kind, answer)

    async def _post(self, obj: Object, events: Sequence[Event]) -> None:
        for event in events:
            level = logging.WARNING if event.type == "Warning" else logging.INFO
            logger.log(level, "%s: %s", event.reason, event.message)
        namespace = self.cache.namespace(obj["metadata"].get("namespace", ""))
        if namespace is not None and is_deleting(namespace):
            return  # it takes nothing new
        for event in events:
            await self.events.post(obj, event.type, event.reason, event.message)

    def _schedule(self, key: Key, outcome: Outcome) -> str:
        """Say when to look again, and whether that is a failure, a wait or neither."""
        if outcome.retry:
            delay = self.queue.retry(key)
            logger.info("Trying again in %.1f s", delay)
            return "requeue"
        self.queue.forget(key)
        if outcome.release:
            return "success"
        resync = self.limits.until_resync(key, now=self.now().timestamp())
        if outcome.requeue_after is None:
            self.queue.add_after(key, resync, unhurried=True)
            return "success"
        again = self.limits.spread(outcome.requeue_after).total_seconds()
        self.queue.add_after(key, min(again, resync))
        return "requeue_after"


def _finalizers(obj: Object) -> list[str]:
    return list(obj["metadata"].get("finalizers") or ())


def _held(obj: Object) -> list[str]:
    """Our finalizer added, unless it is too late for that."""
    finalizers = _finalizers(obj)
    if FINALIZER in finalizers or is_deleting(obj):
        return finalizers
    return [*finalizers, FINALIZER]


def _released(obj: Object) -> list[str]:
    return [name for name in _finalizers(obj) if name != FINALIZER]


def _is_same(one: Object, other: Object) -> bool:
    """Tell whether two versions are of one object, not only of one name."""
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])
