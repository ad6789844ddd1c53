"""Work in a loop of its own: its errors come home, and it is let finish."""

import asyncio
import threading

import pytest

from pg_operator.runtime.threads import run_in_thread


async def test_what_the_work_raises_is_raised_to_the_caller() -> None:
    async def fail(_: threading.Event) -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await run_in_thread("failing", fail, end_seconds=1)


async def test_work_that_was_cancelled_from_within_is_an_error() -> None:
    """Taken for a cancellation of the caller it would end in silence."""

    async def cancelled(_: threading.Event) -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError) as caught:
        await run_in_thread("cancelled", cancelled, end_seconds=1)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_cancelling_asks_the_work_to_stop_and_waits_for_it() -> None:
    began, steps = threading.Event(), list[str]()

    async def work(stop: threading.Event) -> None:
        began.set()
        await asyncio.to_thread(stop.wait)
        steps.append("stopped")

    task = asyncio.create_task(run_in_thread("work", work, end_seconds=30))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["stopped"]
