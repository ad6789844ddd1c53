"""Exported objects as text: what kubectl reads is what was meant."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pg_operator.cli.main import main
from pg_operator.cli.manifests import write_manifests
from pg_operator.plan.export import ExportedObject


def written(document: dict[str, Any], *remarks: str) -> str:
    return write_manifests([ExportedObject(document, remarks)], head=["a head"])


def export(*options: str, dsn: str | None = None) -> Result:
    environment = {"PGOP_ADMIN_DSN": dsn}
    return CliRunner().invoke(main, ["export", *options], env=environment)


# YAML 1.1 as kubectl reads it, YAML 1.2, and PyYAML disagree about these.
@pytest.mark.parametrize(
    "text", ["y", "N", "yes", "on", "~", "null", "1e3", "0o17", "1_0", "0x1", ".inf"]
)
def test_text_that_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    assert f'name: "{text}"' in written({"name": text})
    assert f'["{text}", SELECT]' in written({"names": [text, "SELECT"]})


@pytest.mark.parametrize("text", ["a: b", '"quoted"', "#no", "Größe", "a\nb", " x "])
def test_every_text_is_read_as_it_was_meant(text: str) -> None:
    document = {"name": text, "names": [text], "values": {text: text}}
    (found,) = list(yaml.safe_load_all(written(document)))
    assert found == document


@pytest.mark.parametrize(
    "text",
    ["a\u202eb", "\u2066a", "a\u200b\xad\ufeff", "a\xa0b", "\u2028", "\x1b[2J", "😀"],
)
def test_text_is_shown_as_it_is_read(text: str) -> None:
    """What turns the direction of a line, or cannot be seen, stands as an escape."""
    document = {
        "name": text,
        "names": [text, "x"],
        "values": {text: f"'{text}: {text}"},
    }
    shown = written(document)
    assert all(line.isprintable() for line in shown.split("\n"))
    (found,) = list(yaml.safe_load_all(shown))
    assert found == document


@pytest.mark.parametrize("line_break", ["\n", "\r", "\x85", "\u2028", "\0"])
def test_name_from_the_server_adds_no_document_by_a_remark(line_break: str) -> None:
    remark = f"role 'x{line_break}---{line_break}kind: Secret'"
    text = written({"kind": "Database"}, remark, "long " * 40)
    (found,) = list(yaml.safe_load_all(text))
    assert found == {"kind": "Database"}
    assert text.startswith("# a head\n---\n# role 'x")


def test_export_without_a_dsn_says_where_it_is_looked_for() -> None:
    result = export("--namespace=shop")
    assert result.exit_code == 2
    assert "--dsn-file" in result.output
    assert "$PGOP_ADMIN_DSN" in result.output


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--namespace=Shop", "name of a namespace"),
        ("--cluster=a_b", "metadata.name of a DatabaseCluster"),
        ("--secret=postgresql://u:hunter2@h", "name of a Secret"),
    ],
)
def test_name_that_no_object_can_have_is_refused(option: str, rule: str) -> None:
    result = export("--namespace=shop", option, dsn="host=localhost user=u password=p")
    assert result.exit_code == 2
    assert rule in " ".join(result.output.split())
    assert "hunter2" not in result.output


def test_unusable_dsn_is_refused_without_repeating_it(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://user:hunter2@/db?service=x\n")
    result = export("--namespace=shop", f"--dsn-file={file}")
    assert result.exit_code == 1
    assert "hunter2" not in result.output
