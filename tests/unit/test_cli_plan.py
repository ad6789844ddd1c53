"""How `pg-operator plan` reads a file, and what it refuses. No server, no network."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import pg_operator.cli.documents as cli_documents
from pg_operator.api.conditions import Reason
from pg_operator.api.validation import refusal, validate_databaserole
from pg_operator.cli.documents import (
    BadDocuments,
    Documents,
    check_documents,
    read_documents,
)
from pg_operator.cli.main import main
from pg_operator.cli.plan import show_plan
from pg_operator.plan.state import Pending
from pg_operator.postgres.script import Statement
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.planning import Draft
from pg_operator.reconcilers.progress import Blocked

ROLE = """
apiVersion: pg-operator.dev/v1alpha1
kind: DatabaseRole
metadata:
  name: reader
spec:
  roleName: reader
  validUntil: 2030-01-01T00:00:00Z
  databaseClusterRef:
    name: main
"""
KEY = Key("DatabaseRole", "shop", "reader")


def read(text: str) -> Documents:
    documents = read_documents(text, namespace="shop")
    check_documents(documents, stored={})
    return documents


def role(**spec: Any) -> str:
    document = yaml.safe_load(ROLE)
    document["spec"] |= {"validUntil": "2030-01-01T00:00:00Z", **spec}
    return yaml.safe_dump(document)


def named(**metadata: Any) -> str:
    document = yaml.safe_load(role())
    return yaml.safe_dump({**document, "metadata": {"name": "reader", **metadata}})


def test_text_that_looks_like_a_date_stays_text() -> None:
    assert read(ROLE).objects[KEY]["spec"]["validUntil"] == "2030-01-01T00:00:00Z"


def test_lists_are_opened_and_other_kinds_passed_over() -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "reader"}}
    items = {"kind": "List", "apiVersion": "v1", "items": [yaml.safe_load(role())]}
    documents = read(yaml.safe_dump_all([other, None, items]))
    assert (list(documents.objects), documents.secrets) == ([KEY], {})


def test_a_document_says_which_namespace_it_is_for() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}}
    elsewhere = yaml.safe_load(role())
    elsewhere["metadata"]["namespace"] = "crm"
    documents = read(yaml.safe_dump_all([elsewhere, secret]))
    assert list(documents.objects) == [Key("DatabaseRole", "crm", "reader")]
    assert list(documents.secrets) == [("shop", "password")]


def doubled(times: int) -> str:
    """Return a few lines in which each alias stands for twice what the last one did."""
    lines = (f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]" for n in range(times))
    return "\n".join(["a0: &a0 x", *lines])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("password: [geheim", "this is not YAML at line 1, column 18"),
        ("geheim", "a document is no object"),
        ("metadata: geheim", "metadata: must be an object"),
        (f"{ROLE}---{ROLE}", "stands in the file twice"),
        (ROLE.replace("v1alpha1", "v2"), "pg-operator.dev/v2 has no kind"),
        (ROLE.replace("kind: DatabaseRole", "kind: Role"), "has no kind Role"),
        (ROLE.replace("name: reader\n", "{}\n", 1), "metadata.name: Required value"),
        (named(name="x\n; DROP"), 'metadata.name: Invalid value: "x\\n; DROP"'),
        (named(name=7), "metadata.name: Invalid value: 7"),
        (named(namespace="x\n; DROP"), 'metadata.namespace: Invalid value: "x'),
        (named(namespace=["shop"]), "metadata.namespace: Invalid value"),
        (role(labels={1, 2}), "this is more than JSON can say"),
        ("items: [&a {items: [*a]}]", "this is more than JSON can say"),
        ("[" * 1000, "this is more than JSON can say"),
        (doubled(64), "this is more than JSON can say"),
        (role(grant="all"), 'unknown field "spec.grant"'),
        (
            role(permissions=[{"database": "shop", "table": "x"}]),
            'unknown field "spec.permissions[0].table"',
        ),
    ],
)
def test_file_is_refused_and_not_quoted(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever has no end is past any limit, and sooner past a low one.
    monkeypatch.setattr(cli_documents, "_MOST_CHARACTERS", 1 << 16)
    with pytest.raises(BadDocuments) as refused:
        read(text)
    assert message in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_documents_are_refused_with_the_words_of_admission() -> None:
    text = role(roleName="postgres", permissions=[{"database": ""}])
    errors = validate_databaserole(yaml.safe_load(text)).errors
    with pytest.raises(BadDocuments) as refused:
        read(text)
    assert len(errors) > 1
    assert str(refused.value) == f"DatabaseRole shop/reader: {refusal(errors)}"


def test_change_of_what_cannot_change_is_refused() -> None:
    documents = read_documents(role(roleName="other"), namespace="shop")
    with pytest.raises(BadDocuments, match="may not be changed"):
        check_documents(documents, stored={KEY: yaml.safe_load(role())})


def test_plan_shows_nothing_that_a_terminal_or_psql_would_obey() -> None:
    """Tenants name tables, and whoever plans for them may be a superuser."""
    hostile = "x\x1b[2J\n; DROP DATABASE prod; --\N{RIGHT-TO-LEFT OVERRIDE}"
    found = (
        Draft(
            (Statement(f'REVOKE ALL ON TABLE "{hostile}" FROM "app"', hostile),),
            (Pending(hostile, Reason.ROLE_NOT_FOUND, hostile),),
        ),
        Blocked(Reason.INVALID_SPEC, hostile),
        Draft(refused=Blocked(Reason.NOT_ALLOWED, hostile)),
    )
    for one in found:
        lines = show_plan(KEY, one).splitlines()
        assert all(line.isprintable() for line in lines)
        ours = [line for line in lines if line.startswith(("--", "REVOKE ALL"))]
        assert [line for line in lines if line] == ours


def test_refused_file_shows_nothing_that_a_terminal_would_obey(tmp_path: Path) -> None:
    file = tmp_path / "role.yaml"
    file.write_text(role(**{"x\a": 1}), encoding="utf-8")
    arguments = ["plan", "-f", str(file)]
    result = CliRunner().invoke(main, arguments, env={"PGOP_ADMIN_DSN": "unused"})
    assert result.exit_code == 1
    assert "unknown field" in result.output
    assert "\a" not in result.output


@pytest.mark.parametrize("options", [[], ["--nonsense"], ["-f", "missing.yaml"]])
def test_misuse_is_no_finding(options: list[str]) -> None:
    """2 says that there is something to do."""
    assert CliRunner().invoke(main, ["plan", *options]).exit_code == 1


def test_refused_file_ends_with_the_exit_code_of_errors(tmp_path: Path) -> None:
    file = tmp_path / "role.yaml"
    file.write_text(role(roleName="postgres"), encoding="utf-8")
    arguments = ["plan", "-f", str(file)]
    result = CliRunner().invoke(main, arguments, env={"PGOP_ADMIN_DSN": "unused"})
    assert (result.exit_code, "spec.roleName" in result.output) == (1, True)


@pytest.mark.parametrize("content", ["", "no PEM"])
@pytest.mark.parametrize("command", ["plan", "export"])
def test_file_without_a_ca_is_refused(
    tmp_path: Path, command: str, content: str
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(content)
    environment = {"PGOP_ADMIN_DSN": "host=pg.example.test user=u password=p"}
    result = _with_ca(command, ca, environment)
    assert (result.exit_code, "certificates in PEM" in result.output) == (1, True)


@pytest.mark.parametrize("command", ["plan", "export"])
def test_file_without_a_dsn_is_refused_by_its_option(
    tmp_path: Path, command: str
) -> None:
    """There is no Secret to be told of."""
    dsn = tmp_path / "dsn"
    dsn.write_text("\n")
    options = {"plan": "--filename=-", "export": "--namespace=shop"}
    arguments = [command, options[command], f"--dsn-file={dsn}"]
    result = CliRunner().invoke(main, arguments, input=role())
    assert (result.exit_code, "--dsn-file must hold a DSN" in result.output) == (
        1,
        True,
    )


@pytest.mark.parametrize("command", ["plan", "export"])
def test_ca_without_a_dsn_says_what_it_is_for(tmp_path: Path, command: str) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    result = _with_ca(command, ca, {"PGOP_ADMIN_DSN": ""})
    assert (result.exit_code, "--dsn-file" in result.output) == (1, True)


def _with_ca(command: str, ca: Path, environment: dict[str, str]) -> Result:
    options = {"plan": "--filename=-", "export": "--namespace=shop"}
    arguments = [command, options[command], f"--ca-file={ca}"]
    return CliRunner(env=environment).invoke(main, arguments, input=role())
