"""A kubelet's probes: httpGet and tcpSocket, each in a thread of its own."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


class Probe:
    """One probe of one running container, asked at its own pace until stopped."""

    def __init__(self, spec: Json, *, address: str, ports: Sequence[Json]) -> None:
        """Ask `address`; named ports are looked up in the container's `ports`."""
        self.spec = spec
        self.succeeded = False
        self.failed = False
        self._address = address
        self._ports = {port["name"]: port["containerPort"] for port in ports}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_forever, daemon=True)

    def start(self) -> None:
        """Begin to ask after the probe's initial delay."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _ask_forever(self) -> None:
        spec = self.spec
        streak, last = 0, False
        delay = spec.get("initialDelaySeconds", 0)
        while not self._stopped.wait(delay):
            begin = time.monotonic()
            answer = self.ask()
            # A kubelet's clock ticks on while it waits for an answer.
            spent = time.monotonic() - begin
            delay = max(0.0, spec.get("periodSeconds", 10) - spent)
            streak = streak + 1 if answer is last else 1
            last = answer
            if answer and streak >= spec.get("successThreshold", 1):
                self.succeeded, self.failed = True, False
            elif not answer and streak >= spec.get("failureThreshold", 3):
                self.succeeded, self.failed = False, True

    def ask(self) -> bool:
        """Ask once and say whether the answer was a good one, and in time."""
        timeout = float(self.spec.get("timeoutSeconds", 1))
        try:
            if "tcpSocket" in self.spec:
                port = self._port(self.spec["tcpSocket"]["port"])
                socket.create_connection((self._address, port), timeout).close()
                return True
            return self._get(self.spec["httpGet"], timeout)
        except (OSError, http.client.HTTPException):
            return False

    def _get(self, what: Json, timeout: float) -> bool:
        port = self._port(what["port"])
        connection = http.client.HTTPConnection(self._address, port, timeout=timeout)
        if what.get("scheme", "HTTP") == "HTTPS":
            # A kubelet does not verify either.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                self._address, port, timeout=timeout, context=context
            )
        try:
            connection.request("GET", what.get("path", "/"))
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()

    def _port(self, named: int | str) -> int:
        return named if isinstance(named, int) else int(self._ports[named])
