"""A Lease: the API server's word for which of several processes leads."""

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pg_operator.api.specs import GROUP
from pg_operator.kube.errors import KubernetesError, translate
from pg_operator.kube.paths import LEASES_API, lease_path
from pg_operator.kube.transport import FIELD_MANAGER, JSON, MERGE_PATCH, Transport

SETTLED_BY: Final = f"{GROUP}/settled-by"


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it was read; `holder` is empty when nobody leads.

    `version` changes with every renewal, and is all that tells that there was one: the
    times in a Lease are by another machine's clock. `settled_by` is what the last
    holder left with it as it gave it up; empty as soon as somebody has it.
    """

    holder: str
    version: str
    transitions: int
    settled_by: str = ""


class LeaseLock:
    """One Lease; with a transport of its own nothing queues before a renewal."""

    def __init__(self, transport: Transport, *, namespace: str, name: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name

    async def read(self) -> Lease:
        """Return it as it is.

        Raises:
            NotFound: there is none.
            KubernetesError: no answer, or a refusal.
        """
        path = lease_path(self._namespace, self._name)
        return _lease(await self._transport.request("GET", path))

    async def create(self, holder: str, *, seconds: float) -> Lease:
        """Make it, held for `seconds`.

        Raises:
            Conflict: there is one by now.
            KubernetesError: no answer, or a refusal.
        """
        manifest = {
            "apiVersion": LEASES_API,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": _term(holder, seconds=seconds, transitions=0, is_new=True),
        }
        answer = await self._transport.request(
            "POST",
            lease_path(self._namespace),
            query={"fieldManager": FIELD_MANAGER},
            body=manifest,
        )
        return _lease(answer)

    async def write(
        self, lease: Lease, holder: str, *, seconds: float, settled_by: str = ""
    ) -> Lease:
        """Take, renew or (with an empty holder) give up what is as it was read.

        `settled_by` is left for the next one, and gone with the next write.

        Raises:
            Conflict: it is not: somebody else was faster.
            KubernetesError: no answer, or a refusal; it may have been written.
        """
        is_new = holder != lease.holder
        transitions = lease.transitions + (1 if is_new and holder else 0)
        answer = await self._transport.request(
            "PATCH",
            lease_path(self._namespace, self._name),
            query={"fieldManager": FIELD_MANAGER},
            body={
                "metadata": {
                    "resourceVersion": lease.version,
                    "annotations": {SETTLED_BY: settled_by or None},
                },
                "spec": _term(
                    holder, seconds=seconds, transitions=transitions, is_new=is_new
                ),
            },
            content_type=MERGE_PATCH,
        )
        return _lease(answer)

    async def next(self, lease: Lease, *, seconds: float) -> Lease | None:
        """Return what it becomes within `seconds`, None when that is nothing.

        Raises:
            KubernetesError: no answer, a refusal, or it was deleted: read it anew.
        """
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": lease.version,
            "timeoutSeconds": str(math.ceil(seconds) + 1),
        }
        try:
            async with (
                asyncio.timeout(seconds),
                self._transport.stream(
                    lease_path(self._namespace),
                    query=query,
                    accept=JSON,
                    silence=seconds + 1,
                ) as lines,
            ):
                return _event(await lines.readline())
        except TimeoutError:
            return None


def _event(line: bytes) -> Lease:
    """Read an event, which may be none."""
    try:
        event: Mapping[str, Any] = json.loads(line)
    except ValueError:
        raise KubernetesError("the watch of the Lease broke off") from None
    if event["type"] == "MODIFIED":
        return _lease(event["object"])
    if event["type"] == "ERROR":
        status = event["object"]
        raise translate(int(status.get("code", 500)), json.dumps(status).encode())
    raise KubernetesError(f"the Lease is not what it was: {event['type']}")


def _lease(obj: Mapping[str, Any]) -> Lease:
    spec = obj.get("spec") or {}
    annotations = obj["metadata"].get("annotations") or {}
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        version=str(obj["metadata"]["resourceVersion"]),
        transitions=int(spec.get("leaseTransitions") or 0),
        settled_by=str(annotations.get(SETTLED_BY) or ""),
    )


def _term(
    holder: str, *, seconds: float, transitions: int, is_new: bool
) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": math.ceil(seconds),
        "leaseTransitions": transitions,
        "renewTime": now,
        **({"acquireTime": now} if is_new else {}),
    }
