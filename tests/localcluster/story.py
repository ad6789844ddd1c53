"""Telling a person, step by step, what is done, what comes back and what it proves."""

import os
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from tests.localcluster.processes import BedError
from tests.localcluster.progress import Progress

INDENT = "   "
RESET = "\x1b[0m"
STYLES = {"title": "\x1b[1m", "command": "\x1b[36m", "good": "\x1b[32m"}
STYLES |= {"bad": "\x1b[31m"}


class Unexpected(BedError):
    """A step did not end as it had to; what was seen instead is told before."""


class Story:
    """Prints numbered steps with their commands, output and findings.

    The text is the same everywhere; only a terminal gets colours, and none when
    NO_COLOR is set.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._steps = 0

    @contextmanager
    def step(self, title: str, why: str = "") -> Iterator[None]:
        """Tell a step; what fails in it is marked and raised."""
        self._steps += 1
        self.say()
        self.say(self._styled("title", f"{self._steps}. {title}"))
        for line in textwrap.wrap(why, width=80):
            self.say(INDENT + line)
        try:
            yield
        except Exception:
            self.say(INDENT + self._styled("bad", f"✗ step {self._steps} failed"))
            raise

    def progress(self) -> Progress:
        """Return a Progress whose lines stand under the present step."""
        return _IndentedProgress(self._stream)

    def say(self, text: str = "") -> None:
        """Print text as it is."""
        print(text, file=self._stream, flush=True)

    def prompt(self, prompt: str, text: str) -> None:
        """Print what is typed at a prompt."""
        lines = self._styled("command", f"{prompt} {text}")
        self.say(textwrap.indent(lines, INDENT))

    def output(self, text: str) -> None:
        """Print what came back, indented under its command and else untouched."""
        if text.strip():
            self.say(textwrap.indent(text.rstrip("\n"), 2 * INDENT))

    def check(self, claim: str, *, holds: bool) -> None:
        """Print a claim that holds; raises Unexpected when it does not."""
        if not holds:
            raise Unexpected(f"step {self._steps} had to show: {claim}")
        self.say(INDENT + self._styled("good", "✓") + " " + claim)

    def _styled(self, style: str, text: str) -> str:
        return f"{STYLES[style]}{text}{RESET}" if self._coloured else text


class _IndentedProgress(Progress):
    def _line(self, text: str, *, final: bool) -> None:
        super()._line(INDENT + text, final=final)


class Shell:
    """A shell whose every command and answer is shown, so what is shown is what ran."""

    def __init__(self, story: Story, *, environment: Mapping[str, str]) -> None:
        """Run commands with exactly these environment variables."""
        self._story = story
        self._environment = environment

    def run(self, command: str) -> str:
        """Run a command line; return what it wrote, errors included.

        Raises Unexpected when it fails.
        """
        self._story.prompt("$", command)
        # No time limit here: killing the shell would leave its kubectl running.
        # Commands that wait have a limit of their own.
        done = subprocess.run(
            ["sh", "-c", command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self._story.output(done.stdout)
        if done.returncode != 0:
            raise Unexpected(f"`{command}` ended with exit code {done.returncode}")
        return done.stdout
