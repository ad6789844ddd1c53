"""The node: registers itself, takes every pod that nobody runs, and runs it."""

import http.client
import time
from collections.abc import Callable

from tests.localcluster.node import network
from tests.localcluster.node.api import Api, ApiError, Json
from tests.localcluster.node.pod import NodeSettings, PodWorker, timestamp

PODS = "/api/v1/pods"
RETRY_SECONDS = 0.5


class Agent:
    """A node with scheduler, in one loop over the pods and a thread a pod."""

    def __init__(self, api: Api, *, name: str, settings: NodeSettings) -> None:
        """Be the node `name`."""
        self._api = api
        self._name = name
        self._settings = settings
        self._addresses = network.Addresses()
        self._workers: dict[str, PodWorker] = {}

    def run(self) -> None:
        """Register and follow the pods for ever."""
        self._until_it_works(self._register)
        while True:
            self._until_it_works(self._follow)

    def _until_it_works(self, step: Callable[[], None]) -> None:
        while True:
            try:
                return step()
            except (ApiError, OSError, http.client.HTTPException, ValueError) as error:
                print(f"{timestamp()} {step.__name__}: {error}", flush=True)
                time.sleep(RETRY_SECONDS)

    def _register(self) -> None:
        path = "/api/v1/nodes"
        metadata = {"name": self._name, "labels": {"kubernetes.io/os": "linux"}}
        try:
            self._api.create(path, {"metadata": metadata})
        except ApiError as error:
            if error.code != 409:
                raise
        # Admission taints every new node as not ready; a kubelet's beat would clear it.
        self._api.merge(f"{path}/{self._name}", {"spec": {"taints": None}})
        ready = {"type": "Ready", "status": "True", "reason": "Bed", "message": ""}
        resources = {"cpu": "8", "memory": "16Gi", "pods": "200"}
        status = {
            "conditions": [ready | {"lastHeartbeatTime": timestamp()}],
            "addresses": [{"type": "InternalIP", "address": network.NODE_ADDRESS}],
            "capacity": resources,
            "allocatable": resources,
        }
        self._api.merge(f"{path}/{self._name}/status", {"status": status})

    def _follow(self) -> None:
        found = self._api.get(PODS)
        present = {pod["metadata"]["uid"] for pod in found["items"]}
        for uid in self._workers.keys() - present:
            self._forget(uid)
        for pod in found["items"]:
            self._see(pod)
        version = found["metadata"]["resourceVersion"]
        for kind, pod in self._api.watch(PODS, version=version):
            if kind == "DELETED":
                self._forget(pod["metadata"]["uid"])
            else:
                self._see(pod)

    def _see(self, pod: Json) -> None:
        metadata, node = pod["metadata"], pod["spec"].get("nodeName")
        worker = self._workers.get(metadata["uid"])
        if worker is not None:
            # Volumes and containers never change; what may is the wish to end.
            worker.pod["metadata"] = metadata
        elif node is None and "deletionTimestamp" not in metadata:
            self._bind(pod)
        elif node == self._name:
            address = self._addresses.take()
            worker = PodWorker(
                pod, api=self._api, settings=self._settings, address=address
            )
            self._workers[metadata["uid"]] = worker
            worker.start()

    def _bind(self, pod: Json) -> None:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        body = {
            "metadata": {"name": name, "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._name},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
        try:
            self._api.create(path, body)
        except ApiError as error:
            # Gone, deleted or bound in between: the watch will tell.
            if error.code not in {404, 409}:
                raise

    def _forget(self, uid: str) -> None:
        worker = self._workers.pop(uid, None)
        if worker is not None:
            worker.gone.set()
