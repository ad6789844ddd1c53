"""A steady stream of server-side dry-run applies, every answer of it kept."""

import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.objects import database_role
from tests.localcluster.controlplane import ControlPlane
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.node.api import message_of
from tests.localcluster.probes import wait_until

PER_SECOND = 50
# Enough to ask 50 times a second as long as nothing hangs.
CLIENTS = 16
COLLECTION = "/apis/pg-operator.dev/v1alpha1/namespaces/default/databaseroles"
QUERY = "dryRun=All&fieldManager=load&force=true"
# Every other object is one that nobody but the webhook refuses.
PERMISSIONS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"database": "load", "privileges": ["CONNECT", "CONNECT"]}],
)
REFUSAL = "denied the request"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: when it was asked (monotonic), how long it took, what it said."""

    sent: float
    seconds: float
    valid: bool
    code: int
    message: str

    @property
    def wrongly_allowed(self) -> bool:
        """Say whether an object was let in that must be refused."""
        return not self.valid and self.code < 300

    @property
    def failed(self) -> bool:
        """Say whether the webhook's own answer did not arrive."""
        if self.valid:
            return self.code >= 300
        return self.code >= 300 and REFUSAL not in self.message


@dataclass(slots=True)
class Load:
    """The answers so far."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def failed(self) -> list[Answer]:
        """The admissions that failed."""
        return [answer for answer in self.answers if answer.failed]

    @property
    def wrongly_allowed(self) -> list[Answer]:
        """The objects that were let in and must not be."""
        return [answer for answer in self.answers if answer.wrongly_allowed]

    def summary(self) -> str:
        """Return the counts as one line."""
        slowest = max((answer.seconds for answer in self.answers), default=0.0)
        return (
            f"{len(self.answers)} admissions, {len(self.failed)} failed,"
            f" {len(self.wrongly_allowed)} wrongly allowed, slowest {slowest:.2f} s"
        )


@contextmanager
def running_load(plane: ControlPlane, *, clients: int) -> Iterator[Load]:
    """Apply 50 objects a second until the block ends and every answer is there.

    It is less while all of `clients` wait for an answer at once.
    """
    load = Load()
    stop = threading.Event()
    numbers = itertools.count()
    begin = time.monotonic()

    def ask_on() -> None:
        with closing(_Client(plane)) as client:
            while True:
                number = next(numbers)
                due = begin + number / PER_SECOND
                if stop.wait(max(0.0, due - time.monotonic())):
                    return
                load.answers.append(client.ask(number))

    threads = [threading.Thread(target=ask_on, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


class _Client:
    """One connection to the API server, kept open."""

    def __init__(self, plane: ControlPlane) -> None:
        self._address = plane.url.removeprefix("https://")
        self._token = plane.administrator.token
        self._context = ssl.create_default_context(cafile=str(plane.ca))
        self._connection = self._connect()

    def ask(self, number: int) -> Answer:
        """Apply one object and return the answer."""
        valid = number % 2 == 0
        obj = apply_body(number, valid=valid)
        path = f"{COLLECTION}/{obj['metadata']['name']}?{QUERY}"
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/apply-patch+yaml",
        }
        sent = time.monotonic()
        try:
            self._connection.request("PATCH", path, json.dumps(obj), headers)
            answer = self._connection.getresponse()
            code, message = answer.status, message_of(answer.read().decode())
        except (OSError, http.client.HTTPException) as error:
            code, message = 599, repr(error)
            self.close()
            self._connection = self._connect()
        return Answer(
            sent=sent,
            seconds=time.monotonic() - sent,
            valid=valid,
            code=code,
            message="" if code < 300 else message,
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._address, timeout=20, context=self._context
        )


def more(load: Load) -> None:
    """Wait until another second's worth of admissions is answered."""
    count = len(load.answers)
    assert wait_until(lambda: len(load.answers) > count + PER_SECOND, timeout=60)


def refusal(kubectl: Kubectl) -> str:
    """Return the webhook's words against an object that only it refuses, else ''."""
    body = json.dumps(apply_body(1, valid=False))
    options = ("--filename=-", "--dry-run=server", "--server-side")
    said = kubectl("apply", *options, input=body).stderr
    return said if "must be listed once" in said else ""


def apply_body(number: int, *, valid: bool) -> dict[str, Any]:
    """Return the DatabaseRole that the stream applies as its `number`."""
    permissions = PERMISSIONS[0 if valid else 1]
    return database_role(f"load-{number % 10}", "load", permissions=permissions)
