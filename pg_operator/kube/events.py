"""Kubernetes Events: said once, not again for a while, and never in the way."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import KubernetesError, NamespaceTerminating

logger = logging.getLogger(__name__)

COMPONENT: Final = "pg-operator"
LONGEST_MESSAGE: Final = 1024
QUIET_SECONDS: Final = 300.0
MOST_REMEMBERED: Final = 4096

Said = tuple[str, str, str]


class Events:
    """Posts Events, the same one at most once in `QUIET_SECONDS`.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self, kubernetes: Kubernetes, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._said: OrderedDict[Said, float] = OrderedDict()

    async def post(
        self, obj: Mapping[str, Any], event_type: str, reason: str, message: str, /
    ) -> None:
        """Post an Event about an object; what goes wrong is only logged."""
        metadata = obj["metadata"]
        said = (metadata["uid"], reason, message)
        now = self._clock()
        if now - self._said.get(said, float("-inf")) < QUIET_SECONDS:
            return
        self._remember(said, now)
        namespace = metadata.get("namespace", "default")
        body = _event(obj, namespace, event_type, reason, message)
        try:
            await self._kubernetes.request(
                "POST", core_path("events", namespace), body=body
            )
        except NamespaceTerminating:
            return
        except KubernetesError as error:
            logger.warning("Could not post an Event: %s", error)

    def _remember(self, said: Said, now: float) -> None:
        self._said[said] = now
        self._said.move_to_end(said)
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)


def _event(
    obj: Mapping[str, Any], namespace: str, event_type: str, reason: str, message: str
) -> dict[str, Any]:
    metadata = obj["metadata"]
    moment = datetime.now(UTC)
    digest = hashlib.sha256(f"{metadata['uid']}/{reason}/{moment}".encode())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:200]}.{digest.hexdigest()[:16]}",
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": event_type,
        "reason": reason,
        "message": message[:LONGEST_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": f"{COMPONENT}.dev/controller",
        "reportingInstance": COMPONENT,
        "firstTimestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lastTimestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "count": 1,
    }
