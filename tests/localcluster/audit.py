"""Counting API requests exactly, from the API server's audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DECISION = "authorization.k8s.io/decision"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One answered API request; not `authorized` is what no role allows."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    authorized: bool

    @property
    def writes(self) -> bool:
        """Say whether the request was to change something."""
        return self.verb in WRITES

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Request":
        """Return the request of one audit event."""
        reference = event.get("objectRef", {})
        return cls(
            user=event["user"].get("username", ""),
            verb=event["verb"],
            group=reference.get("apiGroup", ""),
            resource=reference.get("resource", ""),
            subresource=reference.get("subresource", ""),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            # Admission refuses with 403 too, in a namespace that is being deleted.
            authorized=event.get("annotations", {}).get(DECISION) != "forbid",
        )


def read_requests(log: Path, *, since: int) -> Iterator[tuple[int, Request]]:
    """Yield the requests after byte `since`, each with the offset of its end.

    A watch counts when it begins (its answer ends only with the watch).
    """
    if not log.exists():
        return
    with log.open("rb") as stream:
        stream.seek(since)
        offset = since
        for line in stream:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            event = json.loads(line)
            watch = event["verb"] == "watch"
            if event["stage"] == ("ResponseStarted" if watch else "ResponseComplete"):
                yield offset, Request.of(event)
