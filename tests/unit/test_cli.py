"""What the command line makes of its options."""

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pg_operator.cli.controller import controller_settings
from pg_operator.cli.main import main
from pg_operator.cli.run import _run
from pg_operator.cli.webhook import WebhookOptions
from tests.unit.kube_bed import fake_api_server, lists


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def answers(port: int) -> bool:
    """Tell whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("command", ["webhook", "run"])
@pytest.mark.parametrize("given", [[], ["--certificate=c"], ["--key=k"]])
def test_serving_files_needs_both_of_them(command: str, given: list[str]) -> None:
    result = CliRunner().invoke(main, [command, *given])
    assert result.exit_code == 2
    assert "--certificate and --key must be given" in result.output


def test_webhook_process_is_for_serving_the_webhook() -> None:
    result = CliRunner().invoke(main, ["webhook", "--certs=off"])
    assert result.exit_code == 2
    assert "`pg-operator run` only" in result.output


async def test_nothing_is_released_under_a_running_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the finalizers back at once."""
    running = {"metadata": {}, "spec": {"replicas": 1}}
    stopped = {"metadata": {}, "spec": {"replicas": 0}}
    empty = [lists(version="1") for _ in range(3)]
    script = [lists(running, version="1"), lists(stopped, version="1"), *empty]
    async with fake_api_server(tmp_path, *script) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))

        def release() -> Result:
            return CliRunner().invoke(main, ["release", "--all"])

        refused = await asyncio.to_thread(release)
        done = await asyncio.to_thread(release)
    assert (refused.exit_code, done.exit_code) == (1, 0)
    assert "delete config/default first" in refused.output
    assert done.output.startswith("0 objects freed")


async def test_run_without_certificates_is_the_controller_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, listen = free_port(), free_port()
    settings = controller_settings(
        namespace="pg-operator-system",
        namespaces=frozenset(),
        connection_namespaces=frozenset(),
        allow_loopback_servers=False,
        leader_elect=False,
        sweep_interval=timedelta(minutes=1),
        health_address=("127.0.0.1", health),
    )
    options = WebhookOptions(
        namespace="pg-operator-system",
        listen=("127.0.0.1", listen),
        certs="off",
        certificate=None,
        key=None,
        serving_hosts=(),
        drain_seconds=0,
    )
    async with fake_api_server(tmp_path) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
        running = asyncio.create_task(_run(settings, options, None))
        async with asyncio.timeout(10):
            while not (await answers(health) and api.requests):
                await asyncio.wait({running}, timeout=0.01)
                assert not running.done(), running
        assert not await answers(listen)
        running.cancel()
        await asyncio.wait({running})
