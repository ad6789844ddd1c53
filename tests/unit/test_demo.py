"""How the demo is told, as far as it needs no cluster."""

import io

import pytest

from tests.localcluster.sessions import Login
from tests.localcluster.story import Shell, Story, Unexpected


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_story_numbers_its_steps_and_puts_answers_under_commands() -> None:
    stream = io.StringIO()
    story = Story(stream)
    with story.step("First"):
        Shell(story, environment={}).run("echo one; echo two >&2")
        story.check("both came", holds=True)
    with story.step("Second", "Because."):
        pass
    assert stream.getvalue().split("\n") == [
        "",
        "1. First",
        "   $ echo one; echo two >&2",
        "      one",
        "      two",
        "   ✓ both came",
        "",
        "2. Second",
        "   Because.",
        "",
    ]


def test_story_has_colours_only_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(stream: io.StringIO) -> str:
        Story(stream).check("so it is", holds=True)
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in told(Terminal())
    assert "\x1b[" not in told(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in told(Terminal())


def test_claim_that_does_not_hold_ends_the_story() -> None:
    stream = io.StringIO()
    story = Story(stream)
    with (
        pytest.raises(Unexpected, match="step 1 had to show: the sky is green"),
        story.step("Look up"),
    ):
        story.check("the sky is green", holds=False)
    assert "✓" not in stream.getvalue()
    assert stream.getvalue().endswith("✗ step 1 failed\n")


def test_command_that_fails_ends_the_story_after_its_output() -> None:
    stream = io.StringIO()
    shell = Shell(Story(stream), environment={})
    with pytest.raises(Unexpected, match="exit code 3"):
        shell.run("echo why; exit 3")
    assert stream.getvalue().endswith("      why\n")


def test_login_shows_no_password_unless_asked() -> None:
    login = Login("").but(user="reader", dbname="shop", password="a secret")
    assert "a secret" not in repr(login)
    assert login.value("password") == "a secret"
    assert login.prompt() == "reader@shop=>"


def test_refused_connection_is_told_in_one_line() -> None:
    login = Login("host=127.0.0.1 port=1 user=reader dbname=shop")
    assert "\n" not in login.run()
    assert "onnection" in login.run()
