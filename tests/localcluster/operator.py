"""The operator's two processes, as its deployment would run them."""

import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from tests.localcluster.certificates import issue_for
from tests.localcluster.processes import BedError, Component, Process, Supervisor

HOST = "127.0.0.1"
CONTROLLER = "controller"
WEBHOOK = "webhook"
READY_SECONDS = 60.0


class OperatorProcess:
    """One of the two processes, to be ended and started again at will."""

    def __init__(self, name: str, *, supervisor: Supervisor) -> None:
        """Stand for the process recorded under `name`."""
        self._name = name
        self._supervisor = supervisor

    @property
    def component(self) -> Component:
        """What runs: its command, address and log."""
        component = self._supervisor.recorded(self._name)
        assert component is not None, f"{self._name} was never started"
        return component

    @property
    def pid(self) -> int | None:
        """The pid, None while it does not run."""
        process = self._running()
        return process.pid if process is not None else None

    def stop(self, *, grace: float = 30.0) -> None:
        """End it with SIGTERM, as a kubelet would."""
        process = self._running()
        if process is not None:
            process.stop(grace=grace)

    def kill(self) -> None:
        """End it with SIGKILL."""
        process = self._running()
        if process is not None:
            process.kill()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does, as a stalled machine would."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        self._send(signal.SIGCONT)

    def wait_ended(self, *, timeout: float) -> bool:
        """Wait until it has ended by itself; False when it has not in time."""
        process = self._running()
        return process is None or process.wait_gone(timeout=timeout)

    def start(self) -> None:
        """Start it again, same command and port, and wait until it is ready."""
        if self._running() is None:
            self._supervisor.restart(self._name, timeout=READY_SECONDS)

    def restart(self) -> None:
        """End it with SIGTERM, start it again and wait until it is ready."""
        self.stop()
        self.start()

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """Start it again in the block whenever it has ended, as a kubelet does."""
        over = Event()

        def keep() -> None:
            while not over.wait(1):
                # It may end, or be ended, before it is ready.
                with suppress(BedError):
                    self.start()

        with ThreadPoolExecutor(1) as beside:
            keeping = beside.submit(keep)
            try:
                yield
            finally:
                over.set()
        keeping.result()

    def _send(self, number: int) -> None:
        process = self._running()
        if process is not None:
            process.send(number)

    def _running(self) -> Process | None:
        return self._supervisor.find(self._name)


def start_controller(
    supervisor: Supervisor,
    *,
    kubeconfig: Path,
    logs: Path,
    name: str = CONTROLLER,
    further: Sequence[str] = (),
) -> OperatorProcess:
    """Start `pg-operator controller` and wait until its watches have listed.

    It may be one of several, each under a name of its own and with `further` options.
    """

    def component(ports: Sequence[int]) -> Component:
        address = f"{HOST}:{ports[0]}"
        options = (
            "--namespace=pg-operator-system",
            "--connection-namespaces=default",
            "--allow-loopback-servers",
            f"--health-address={address}",
            *further,
        )
        return _component(
            name,
            CONTROLLER,
            options,
            kubeconfig=kubeconfig,
            logs=logs,
            address=address,
            ready_url=f"http://{address}/readyz",
        )

    supervisor.start_ready(component, ports=1, timeout=READY_SECONDS)
    return OperatorProcess(name, supervisor=supervisor)


def start_webhook(
    supervisor: Supervisor, *, kubeconfig: Path, certificates: Path, logs: Path
) -> OperatorProcess:
    """Start `pg-operator webhook` and wait until it serves."""

    def component(ports: Sequence[int]) -> Component:
        address = f"{HOST}:{ports[0]}"
        options = (
            f"--listen={address}",
            f"--certificate={certificates / 'tls.crt'}",
            f"--key={certificates / 'tls.key'}",
        )
        return _component(
            WEBHOOK,
            WEBHOOK,
            options,
            kubeconfig=kubeconfig,
            logs=logs,
            address=address,
            ready_url=f"https://{address}/readyz",
        )

    supervisor.start_ready(component, ports=1, timeout=READY_SECONDS)
    return OperatorProcess(WEBHOOK, supervisor=supervisor)


def issue_webhook_certificate(directory: Path) -> bytes:
    """Write tls.crt and tls.key for loopback; return the authority's certificate."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, leaf = issue_for(["pg-operator-webhook.pg-operator-system.svc"])
    (directory / "tls.crt").write_bytes(leaf.certificate_pem)
    key = directory / "tls.key"
    key.touch(mode=0o600)
    key.write_bytes(leaf.private_key_pem)
    return authority.certificate_pem


def _component(
    name: str,
    command: str,
    options: tuple[str, ...],
    *,
    kubeconfig: Path,
    logs: Path,
    address: str,
    ready_url: str,
) -> Component:
    program = Path(sys.executable).parent / "pg-operator"
    return Component(
        name=name,
        argv=(str(program), command, *options),
        log=logs / f"{name}.log",
        address=address,
        ready_url=ready_url,
        environment={"KUBECONFIG": str(kubeconfig)},
        stop_signal=signal.SIGTERM,
    )
