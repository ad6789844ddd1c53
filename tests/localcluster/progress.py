"""Saying what is being done and how long it took, with or without a terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


def duration(seconds: float) -> str:
    """Return a duration as people say it: `0.4 s`, `12 s`, `4 min 29 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s"


class Progress:
    """Prints steps: one living line on a terminal, a line per event elsewhere."""

    def __init__(
        self,
        stream: TextIO,
        *,
        heartbeat: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `stream`; without a terminal repeat every `heartbeat` seconds."""
        self._stream = stream
        self._terminal = stream.isatty()
        self._interval = 1.0 if self._terminal else heartbeat
        self._clock = clock

    def say(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that `what` goes on until the block ends, and how long it took."""
        started = self._clock()
        ended = threading.Event()
        beat = threading.Thread(
            target=self._beat, args=(what, started, ended), daemon=True
        )
        self._line(f"{what} ...", final=not self._terminal)
        beat.start()
        outcome = "failed after"
        try:
            yield
            outcome = "done in"
        finally:
            ended.set()
            beat.join()
            took = duration(self._clock() - started)
            self._line(f"{what}: {outcome} {took}", final=True)

    def _beat(self, what: str, started: float, ended: threading.Event) -> None:
        while not ended.wait(self._interval):
            elapsed = duration(self._clock() - started)
            if self._terminal:
                self._line(f"{what} ... {elapsed}", final=False)
            else:
                self._line(f"  still {what}, {elapsed}", final=True)

    def _line(self, text: str, *, final: bool) -> None:
        start = "\r\x1b[K" if self._terminal else ""
        end = "\n" if final else ""
        print(f"{start}{text}", end=end, file=self._stream, flush=True)
