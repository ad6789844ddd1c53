"""The texts of errors: joined, short, and safe to print."""

from hypothesis import given
from hypothesis import strategies as st

from pg_operator.api.errors import LONGEST_ECHO, FieldError, echo, refusal


def error(path: str, message: str) -> FieldError:
    return FieldError("rule", path, path, "FieldValueInvalid", message)


def test_refusal_of_one_error_is_its_text() -> None:
    assert refusal([error("spec.name", "bad")]) == "spec.name: bad"


def test_refusal_of_several_errors_is_bracketed() -> None:
    errors = [error("spec.a", "bad"), error("spec.b", "worse")]
    assert refusal(errors) == "[spec.a: bad, spec.b: worse]"


def test_refusal_of_very_many_errors_counts_the_rest() -> None:
    text = refusal([error(f"spec.x[{index}]", "bad") for index in range(1000)])
    assert text.endswith("spec.x[39]: bad, and 960 more]")


def test_echo_shows_values_as_json() -> None:
    assert echo("Orders") == '"Orders"'
    assert echo('a "b" \\ c') == '"a \\"b\\" \\\\ c"'
    assert echo(5) == "5"
    assert echo(True) == "true"  # noqa: FBT003
    assert echo(["ALL", "SELECT"]) == '["ALL", "SELECT"]'


def test_echo_escapes_what_a_terminal_would_obey() -> None:
    assert echo("\x1b[2J\u202e\x00") == '"\\u001b[2J\\u202e\\u0000"'


@given(st.text() | st.lists(st.text()))
def test_echo_is_printable_and_encodable(value: object) -> None:
    shown = echo(value)
    assert shown.isprintable()
    assert shown.encode()


def test_echo_is_short() -> None:
    assert len(echo("x" * 1_000_000)) == LONGEST_ECHO + 2
    assert len(echo(["x" * 1_000_000])) == LONGEST_ECHO
