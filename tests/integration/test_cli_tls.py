"""Commands with a DSN only believe a server by the CAs that they are given."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pg_operator.cli.main import main
from tests.localcluster.certificates import issue_for
from tests.localcluster.postgres import PostgresServer

NEW = """
apiVersion: pg-operator.dev/v1alpha1
kind: Database
metadata: {name: orders}
spec: {name: orders, databaseClusterRef: {name: main}}
"""
COMMANDS = {
    "export": (("--namespace=shop",), 0, "kind: DatabaseCluster"),
    "plan": (("--filename=-",), 2, "CREATE DATABASE"),
}


def run(command: str, dsn: Path, *options: str) -> Result:
    """Run a command with a DSN in a file, and a new object on its input."""
    arguments = (command, *COMMANDS[command][0], f"--dsn-file={dsn}", *options)
    return CliRunner().invoke(main, arguments, input=NEW)


@pytest.fixture
def dsn(server: PostgresServer, tmp_path: Path) -> Path:
    """A file with a DSN that asks for the proof of the server's name."""
    if not server.tls:
        pytest.skip("the server has no TLS")
    file = tmp_path / "dsn"
    text = server.admin_dsn
    assert "sslmode=require" in text
    file.write_text(text.replace("sslmode=require", "sslmode=verify-full"))
    return file


@pytest.mark.parametrize("command", COMMANDS)
def test_server_is_believed_by_the_ca_that_is_given(
    server: PostgresServer, dsn: Path, tmp_path: Path, command: str
) -> None:
    assert server.ca_pem is not None
    ca = tmp_path / "ca.pem"
    ca.write_bytes(server.ca_pem)
    result = run(command, dsn, f"--ca-file={ca}")
    _, code, words = COMMANDS[command]
    assert (result.exit_code, words in result.stdout) == (code, True), result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_server_that_another_ca_vouches_for_is_not_believed(
    dsn: Path, tmp_path: Path, command: str
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(issue_for(["pg.example.test"])[0].certificate_pem)
    result = run(command, dsn, f"--ca-file={ca}")
    assert result.exit_code == 1
    assert "certificate" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_server_whose_name_nobody_vouches_for_is_not_asked(
    dsn: Path, command: str
) -> None:
    result = run(command, dsn)
    assert result.exit_code == 1
    assert "ca.crt" in result.output
