"""Seeing what goes on although pytest captures output."""

from contextlib import AbstractContextManager, nullcontext

import pytest


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """Let a long start show its progress although pytest captures output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return nullcontext()
    shown: AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return shown
