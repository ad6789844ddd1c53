"""docs/errors.md from the table of rules and the refused samples: `make docs`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from pg_operator.api.rules import RULES, Layer, Rule
from pg_operator.api.validation import VALIDATORS, FieldError

CHECKOUT: Final = Path(__file__).parents[1]
PAGE: Final = CHECKOUT / "docs" / "errors.md"
INVALID: Final = CHECKOUT / "config" / "samples" / "invalid"
# Only the API server knows which fields there are.
UNKNOWN_FIELD: Final = "unknown-field"

_LAYERS: Final[Mapping[Layer, str]] = {
    "schema": "the schema",
    "CEL": "a CEL rule",
    "webhook": "the webhook",
    "guard": "the controller",
}
_HEAD: Final = """# Errors

<!-- Made by `make docs` from pg_operator/api/rules.py and config/samples/invalid. -->

Every rule that a document of ours can break, in the order of the alphabet. An error
says where (the path), what is there, what must be, and what to write instead where that
can be told. All errors of an object come at once.

What the schema and CEL rules refuse is refused by the API server itself, also while the
webhook is down, though in its own words. What the controller refuses it does not act
on: a fault in an entry of a list holds back that entry, any other holds back the
object, and its condition `Ready=False/InvalidSpec` has the same message. A rule that a
new version makes stricter never stops a change of something else in an object that was
stored before: what such an object already had wrong comes as a warning.

A misspelt field is refused by the API server with `unknown field`.
"""


def errors_of(sample: Path) -> Sequence[FieldError]:
    """Return what is wrong with a sample; of two documents the first is the stored."""
    *stored, document = yaml.safe_load_all(sample.read_text(encoding="utf-8"))
    old: Mapping[str, Any] | None = stored[0] if stored else None
    return VALIDATORS[document["kind"]](document, old=old).errors


def samples() -> list[Path]:
    """Return the refused samples, in order."""
    return sorted(INVALID.glob("*.yaml"))


def render() -> str:
    """Write the page."""
    messages: defaultdict[str, list[str]] = defaultdict(list)
    for sample in samples():
        link = f"[{sample.stem}](../{sample.relative_to(CHECKOUT)})"
        for error in errors_of(sample):
            messages[error.rule].append(f"{link}:\n\n  ```text\n  {error}\n  ```")
    sections = (
        _section(name, rule, messages[name]) for name, rule in sorted(RULES.items())
    )
    return "\n".join((_HEAD, *sections))


def _section(name: str, rule: Rule, messages: Sequence[str]) -> str:
    layers = [_LAYERS[layer] for layer in rule.layers]
    holds = ", ".join(layers)
    if rule.where and rule.floor:
        holds += f" (without the webhook: {rule.where})"
    shown = [f"- {message}" for message in messages]
    if rule.example:
        shown.append(f"```text\n{rule.example}\n```")
    body = "\n\n".join((rule.must, f"Held by {holds}.", *shown))
    return f"## {name}\n\n{body}\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
