"""What a pod's status says: pure functions of what its containers do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class ContainerState:
    """What is known of one container."""

    name: str
    image: str
    waiting: tuple[str, str] | None = ("ContainerCreating", "")
    started_at: str = ""
    started: bool = False
    ready: bool = False
    restarts: int = 0
    last: Json = field(default_factory=dict)

    def to_status(self) -> Json:
        """Return its part of the pod's status."""
        if self.waiting is not None:
            reason, message = self.waiting
            state: Json = {"waiting": {"reason": reason, "message": message}}
        else:
            state = {"running": {"startedAt": self.started_at}}
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state,
            "lastState": self.last,
        }


def pod_status(
    containers: Sequence[ContainerState],
    *,
    before: Json,
    node_address: str,
    address: str,
    now: str,
) -> Json:
    """Return a pod's status; times of conditions that did not change are kept."""
    running = [one for one in containers if one.waiting is None]
    ready = len(running) == len(containers) and all(one.ready for one in containers)
    truths = {
        "PodReadyToStartContainers": bool(address),
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready,
        "PodScheduled": True,
    }
    status: Json = {
        "phase": "Running" if running else before.get("phase", "Pending"),
        "hostIP": node_address,
        "hostIPs": [{"ip": node_address}],
        "startTime": before.get("startTime", now),
        "conditions": _conditions(truths, before, now),
        "containerStatuses": [one.to_status() for one in containers],
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    return status


def _conditions(truths: dict[str, bool], before: Json, now: str) -> list[Json]:
    known = {one["type"]: one for one in before.get("conditions", [])}
    conditions = []
    for kind, truth in truths.items():
        value = str(truth)
        since = now
        if kind in known and known[kind]["status"] == value:
            since = known[kind]["lastTransitionTime"]
        conditions.append({"type": kind, "status": value, "lastTransitionTime": since})
    return conditions
