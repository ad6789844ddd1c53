"""Writes objects as a stream of YAML, with remarks as comments."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml

from pg_operator.cli.printable import printable
from pg_operator.plan.export import ExportedObject

WIDTH: Final = 84
# What every reader of YAML takes for text without quotes, whatever its version.
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_WORDS: Final = frozenset(
    {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
)


class _Dumper(yaml.SafeDumper):
    """Quotes what kubectl would take for something else than text, such as `y`."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_plain = _PLAIN.match(text) and text.lower() not in _WORDS
    style = None if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    is_words = all(isinstance(item, str) for item in items)
    return dumper.represent_sequence(
        "tag:yaml.org,2002:seq", items, flow_style=is_words
    )


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def write_manifests(objects: Iterable[ExportedObject], *, head: Iterable[str]) -> str:
    """Return a stream of documents, each with its remarks before it."""
    parts = ["".join(_comments(head))]
    for one in objects:
        written = yaml.dump(
            _plain(one.document),
            Dumper=_Dumper,
            allow_unicode=True,
            sort_keys=False,
        )
        # All text but plain ASCII is quoted, and YAML has the same escapes.
        lines = map(printable, written.split("\n"))
        parts.append("".join(["---\n", *_comments(one.remarks), "\n".join(lines)]))
    return "".join(parts)


def _comments(texts: Iterable[str]) -> Iterator[str]:
    """Write remarks, which repeat names from the server, so that none ends its line."""
    for text in texts:
        lines = textwrap.wrap(
            printable(text), WIDTH, break_long_words=False, break_on_hyphens=False
        )
        yield "".join(
            f"#{'   ' if number else ' '}{line}\n" for number, line in enumerate(lines)
        )


def _plain(value: Any) -> Any:
    """Return a document of dicts and lists that share nothing: YAML would say so."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
