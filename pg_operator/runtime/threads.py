"""An event loop in a thread of its own, for what would rule the main one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

Work = Callable[[threading.Event], Coroutine[Any, Any, None]]


async def run_in_thread(name: str, work: Work, *, end_seconds: float) -> None:
    """Run `work` in a new thread until it ends; what it raises is raised here.

    At its end Kopf cancels every task of its loop that is younger than itself, and in
    the main thread it takes SIGTERM for itself. In a loop of its own it can do neither
    to others. Cancelling sets the event that `work` was given, and waits up to
    `end_seconds` for it to end.

    Raises:
        RuntimeError: what ended it was no Exception; it is the cause.
    """
    home = asyncio.get_running_loop()
    ended: asyncio.Future[None] = home.create_future()
    stop = threading.Event()

    def run() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(work(stop))
        except BaseException as raised:  # noqa: BLE001 (told to the main thread)
            error = raised
        # At the very end nobody may be home any more, which is all right.
        with suppress(RuntimeError):
            home.call_soon_threadsafe(_settle, ended, error)

    # A daemon, so that not even a loop that hangs keeps the process from ending.
    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({ended}, timeout=end_seconds)
        raise


def _settle(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if error is None:
        ended.set_result(None)
    elif isinstance(error, Exception):
        ended.set_exception(error)
    else:
        report = RuntimeError(f"a thread ended of {error!r}")
        report.__cause__ = error
        ended.set_exception(report)
    # Nobody asks any more once the waiting is over.
    ended.exception()
