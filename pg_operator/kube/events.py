"""Kubernetes Events: what `kubectl describe` shows, and never in the way of work."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import (
    Conflict,
    KubernetesError,
    NamespaceTerminating,
    NotFound,
)
from pg_operator.kube.transport import FIELD_MANAGER, MERGE_PATCH

logger = logging.getLogger(__name__)

CONTROLLER: Final = "pg-operator.dev/controller"
LONGEST_MESSAGE: Final = 1024  # bytes
LONGEST_NAME: Final = 253
QUIET: Final = timedelta(minutes=5)
MOST_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Said:
    """How often an Event was posted, and when it was last written."""

    count: int
    written: datetime


class Events:
    """Posts Events: one object a message, counted up at most once in `QUIET`."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kubernetes = kubernetes
        self._now = now
        self._said: OrderedDict[str, _Said] = OrderedDict()

    async def post(
        self, obj: Mapping[str, Any], event_type: str, reason: str, message: str, /
    ) -> None:
        """Post an Event about an object; what goes wrong is only logged.

        The same again within five minutes of the last write is only counted. The
        message is cut to 1024 bytes.
        """
        event = _event(obj, event_type, reason, message)
        name, now = event["metadata"]["name"], self._now()
        known = self._said.get(name)
        if known is not None and now - known.written < QUIET:
            self._remember(name, replace(known, count=known.count + 1))
            return
        count = known.count + 1 if known is not None else 1
        # Noted before it is written: a failure must not be tried at every turn.
        self._remember(name, _Said(count, now))
        try:
            written = await self._write(event, count, _timestamp(now))
        except NamespaceTerminating:
            return
        except KubernetesError as error:
            logger.warning("Could not post an Event: %s", error)
        else:
            self._remember(name, _Said(written, now))

    async def _write(self, event: dict[str, Any], count: int, moment: str) -> int:
        """Write an Event and return the count it has."""
        if count > 1:
            try:
                return await self._renew(event, {"count": count}, moment)
            except NotFound:
                pass  # forgotten by the API server, which it does after an hour
        try:
            await self._kubernetes.request(
                "POST",
                core_path("events", event["metadata"]["namespace"]),
                query={"fieldManager": FIELD_MANAGER},
                body={
                    **event,
                    "firstTimestamp": moment,
                    "lastTimestamp": moment,
                    "count": 1,
                },
            )
        except Conflict:
            # Posted by a process before this one; how often, only a write tells.
            before = await self._renew(event, {}, moment)
            return await self._renew(event, {"count": before + 1}, moment)
        return 1

    async def _renew(
        self, event: dict[str, Any], changes: dict[str, Any], moment: str
    ) -> int:
        metadata = event["metadata"]
        stored = await self._kubernetes.request(
            "PATCH",
            core_path("events", metadata["namespace"], metadata["name"]),
            query={"fieldManager": FIELD_MANAGER},
            body={"lastTimestamp": moment, **changes},
            content_type=MERGE_PATCH,
        )
        return int(stored.get("count") or 1)

    def _remember(self, name: str, said: _Said) -> None:
        self._said[name] = said
        self._said.move_to_end(name)
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)


def _event(
    obj: Mapping[str, Any], event_type: str, reason: str, message: str
) -> dict[str, Any]:
    """Return the Event, without its times; the same words make the same name."""
    metadata = obj["metadata"]
    text = _cut(message)
    words = "\0".join((metadata["uid"], event_type, reason, text))
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    longest = LONGEST_NAME - len(digest) - 1
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:longest].rstrip('.-')}.{digest}",
            # The one for Events about objects that are in no namespace.
            "namespace": metadata.get("namespace") or "default",
        },
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": event_type,
        "reason": reason,
        "message": text,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": CONTROLLER,
        "reportingInstance": FIELD_MANAGER,
    }


def _cut(message: str) -> str:
    """Keep as many whole characters as fit."""
    encoded = message.encode()
    if len(encoded) <= LONGEST_MESSAGE:
        return message
    mark = "…"
    return (
        encoded[: LONGEST_MESSAGE - len(mark.encode())].decode(errors="ignore") + mark
    )


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
