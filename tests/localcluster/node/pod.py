"""The life of one pod: network, volumes, containers, probes, status, end."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.localcluster.node import network
from tests.localcluster.node.api import Api, ApiError, Json
from tests.localcluster.node.container import Container
from tests.localcluster.node.images import Image
from tests.localcluster.node.layout import PodError, PodLayout, container_spec
from tests.localcluster.node.probes import Probe
from tests.localcluster.node.status import ContainerState, pod_status
from tests.localcluster.node.volumes import VolumeError, Volumes

TICK_SECONDS = 0.05
# The first restart is immediate; later ones wait, as a kubelet's do.
BACKOFF_SECONDS = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
CALM_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What all pods of a node share."""

    directory: Path
    logs: Path
    images: Mapping[str, Image]
    volume_seconds: float


@dataclass(slots=True)
class Running:
    """One container of the pod and what goes on around it."""

    spec: Json
    state: ContainerState
    process: Container | None = None
    probes: dict[str, Probe] = field(default_factory=dict)
    start_at: float = 0.0
    started: float = 0.0

    def stop_probes(self, *kinds: str) -> None:
        """Ask no more for these kinds, or for any."""
        for kind in kinds or tuple(self.probes):
            if kind in self.probes:
                self.probes.pop(kind).stop()


class PodWorker:
    """Runs one pod in a thread of its own until it is deleted."""

    def __init__(
        self, pod: Json, *, api: Api, settings: NodeSettings, address: str
    ) -> None:
        """Run `pod`, which is bound to this node, at `address`."""
        self.pod = pod
        self.gone = threading.Event()
        self._api = api
        self._settings = settings
        metadata = pod["metadata"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/"
        self._path += metadata["name"]
        name = f"{metadata['namespace']}_{metadata['name']}"
        self._layout = PodLayout(
            pod=pod,
            address=address,
            directory=settings.directory / name,
            log=settings.logs / f"{name}.log",
        )
        self._volumes = Volumes(api, pod, directory=self._layout.volumes)
        self._prepare_at = 0.0
        self._missing = ""
        self._network: network.PodNetwork | None = None
        self._containers = [
            Running(spec, ContainerState(name=spec["name"], image=spec["image"]))
            for spec in pod["spec"]["containers"]
        ]
        self._status: Json = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._deleted() and not self.gone.is_set():
                self._step()
                self._report()
                self.gone.wait(TICK_SECONDS)
        finally:
            self._end()

    def _deleted(self) -> bool:
        return "deletionTimestamp" in self.pod["metadata"]

    def _step(self) -> None:
        """Do what is to be done now; whatever fails is said and tried again."""
        if time.monotonic() >= self._prepare_at:
            self._prepare_at = time.monotonic() + self._settings.volume_seconds
            try:
                self._prepare()
                self._missing = ""
            except (VolumeError, ApiError, network.NetworkError, OSError) as error:
                self._missing = str(error)
                print(f"{timestamp()} {self._path}: {error}", flush=True)
        for one in self._containers:
            if one.process is None and self._missing:
                one.state.waiting = ("ContainerCreating", self._missing)
                continue
            try:
                self._tend(one)
            except PodError as error:
                one.state.waiting = (error.reason, error.message)

    def _prepare(self) -> None:
        """Connect the pod, once, and bring its volumes to what their sources say."""
        if self._network is None:
            self._layout.directory.mkdir(parents=True, exist_ok=True)
            self._network = network.attach(self._layout.network, self._layout.address)
            self.pod["status"] |= {"podIP": self._layout.address}
        self._volumes.refresh()

    def _tend(self, one: Running) -> None:
        if one.process is None:
            if time.monotonic() >= one.start_at:
                self._start(one)
            return
        code = one.process.exit_code()
        if code is not None:
            self._ended(one, code)
            return
        live = one.probes.get("livenessProbe") or one.probes.get("startupProbe")
        if live is not None and live.failed:
            one.stop_probes()
            finish(one.process, grace=self._grace(live.spec))
            return
        startup = one.probes.get("startupProbe")
        if startup is None or startup.succeeded:
            if not one.state.started:
                one.state.started = True
                one.stop_probes("startupProbe")
                self._probe(one, "livenessProbe", "readinessProbe")
            ready = one.probes.get("readinessProbe")
            one.state.ready = ready is None or ready.succeeded

    def _start(self, one: Running) -> None:
        images = self._settings.images
        one.process = Container(container_spec(one.spec, self._layout, images=images))
        one.started = time.monotonic()
        pid_file = self._layout.pid_file(one.state.name)
        pid_file.write_text(f"{one.process.pid}\n", encoding="utf-8")
        one.state.waiting = None
        one.state.started_at = timestamp()
        self._probe(one, "startupProbe")

    def _ended(self, one: Running, code: int) -> None:
        one.stop_probes()
        one.process = None
        self._layout.pid_file(one.state.name).unlink()
        calm = time.monotonic() - one.started >= CALM_SECONDS
        step = 0 if calm else min(one.state.restarts, len(BACKOFF_SECONDS) - 1)
        one.start_at = time.monotonic() + BACKOFF_SECONDS[step]
        state = one.state
        state.last = {
            "terminated": {
                "exitCode": code,
                "reason": "Completed" if code == 0 else "Error",
                "startedAt": state.started_at,
                "finishedAt": timestamp(),
            }
        }
        state.restarts += 1
        state.started = state.ready = False
        state.waiting = ("CrashLoopBackOff", f"ended with {code}")

    def _probe(self, one: Running, *kinds: str) -> None:
        for kind in kinds:
            if kind in one.spec:
                ports = [port for port in one.spec.get("ports", []) if "name" in port]
                spec = one.spec[kind]
                probe = Probe(spec, address=self._layout.address, ports=ports)
                one.probes[kind] = probe
                probe.start()

    def _grace(self, spec: Json | None = None) -> float:
        own: float = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        asked = self.pod["metadata"].get("deletionGracePeriodSeconds", own)
        return float((spec or {}).get("terminationGracePeriodSeconds", asked))

    def _report(self) -> None:
        status = pod_status(
            [one.state for one in self._containers],
            before=self._status,
            node_address=network.NODE_ADDRESS,
            address=self._layout.address if self._network is not None else "",
            now=timestamp(),
        )
        if status == self._status:
            return
        try:
            self._api.merge(f"{self._path}/status", {"status": status})
            self._status = status
        except ApiError as error:
            if error.code == 404:
                self.gone.set()
        except OSError:
            pass  # An API server that is away is told at the next tick.

    def _end(self) -> None:
        """Let the containers finish; readiness is still told, as a kubelet does."""
        enders = []
        for one in self._containers:
            one.stop_probes("livenessProbe", "startupProbe")
            if one.process is not None:
                arguments = {"grace": 0.0 if self.gone.is_set() else self._grace()}
                ender = threading.Thread(
                    target=end, args=(one.process, one.spec), kwargs=arguments
                )
                ender.start()
                enders.append((one, ender))
        while any(ender.is_alive() for _, ender in enders):
            for one, ender in enders:
                ready = one.probes.get("readinessProbe")
                one.state.ready = ender.is_alive() and bool(ready and ready.succeeded)
            self._report()
            time.sleep(TICK_SECONDS)
        for one in self._containers:
            one.stop_probes()
            self._layout.pid_file(one.state.name).unlink(missing_ok=True)
        if self._network is not None:
            self._network.remove()
        self._confirm()

    def _confirm(self) -> None:
        uid = self.pod["metadata"]["uid"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        while True:
            try:
                self._api.delete(self._path, options)
            except ApiError:
                return
            except OSError:
                time.sleep(1)
            else:
                return


def end(process: Container, spec: Json, *, grace: float) -> None:
    """Run the preStop hook, then end the process within the grace period."""
    hook = spec.get("lifecycle", {}).get("preStop", {})
    pause = min(float(hook.get("sleep", {}).get("seconds", 0)), grace)
    if pause:
        time.sleep(pause)
    finish(process, grace=grace - pause)


def finish(process: Container, *, grace: float) -> None:
    """Send SIGTERM, and SIGKILL when the process is still there after `grace`."""
    process.terminate()
    deadline = time.monotonic() + grace
    while process.exit_code() is None and time.monotonic() < deadline:
        time.sleep(TICK_SECONDS)
    process.kill()


def timestamp() -> str:
    """Return the present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
