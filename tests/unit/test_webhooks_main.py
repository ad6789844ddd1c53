"""The webhook process, in front of an API server that answers discovery only."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from certs.reload import ServingCertificate
from pg_operator.cli.options import Address
from pg_operator.cli.webhook import webhook
from pg_operator.runtime.memories import NoMemories
from tests.unit.webhook_bed import (
    Mount,
    a_database,
    a_review,
    an_authority,
    client_session,
    leaf_of,
)
from webhooks.main import UnknownAPIServerError, serve
from webhooks.metrics import WebhookMetrics


@pytest.fixture
async def kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Path]:
    """Point Kopf at an API server that has no CRDs of ours yet."""

    async def versions(_: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"]})

    async def resources(_: web.Request) -> web.Response:
        return web.json_response({"resources": []})

    async def groups(_: web.Request) -> web.Response:
        return web.json_response({"groups": []})

    application = web.Application()
    application.add_routes(
        [
            web.get("/api", versions),
            web.get("/api/v1", resources),
            web.get("/apis", groups),
        ]
    )
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://{host}:{port}"}}
                ],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield path
    await runner.cleanup()


async def test_process_serves_before_the_crds_are_there(
    kubeconfig: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first object may come right after its CRD; no restart is needed for it."""
    caplog.set_level(logging.INFO)
    authority = an_authority()
    mount = Mount(tmp_path)
    mount.publish_pair(leaf_of(authority))
    serving = asyncio.create_task(
        serve(
            host="127.0.0.1",
            port=0,
            certificate=ServingCertificate(mount.certificate, mount.key),
            metrics=WebhookMetrics(CollectorRegistry()),
            drain_seconds=0,
        )
    )

    def port() -> str | None:
        lines = [r.getMessage() for r in caplog.records if r.name == "webhooks.server"]
        return lines[0].rpartition(":")[2] if lines else None

    try:
        async with asyncio.timeout(20), client_session(authority) as client:
            while port() is None:
                await asyncio.wait({serving}, timeout=0.01)
                assert not serving.done(), serving
            url = f"https://localhost:{port()}/validate-database"
            for database, allowed in [
                (a_database(), True),
                (a_database(name=""), False),
            ]:
                async with client.post(url, json=a_review(database)) as got:
                    answer = await got.json()
                assert answer["response"]["allowed"] is allowed
    finally:
        serving.cancel()
        await asyncio.wait({serving})
    # Kopf would report the refusal as an error, with all its text.
    assert [r for r in caplog.records if r.name == "kopf.objects"] == []


async def test_process_remembers_no_object_that_it_reviewed() -> None:
    """Kopf keeps a record for each uid and never learns that the object is gone."""
    memories = NoMemories()
    for uid in range(3):
        await memories.recall_memo({"metadata": {"uid": str(uid)}})
    assert list(memories.iter_all_memories()) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9443", ("127.0.0.1", 9443)),
        ("[::1]:9443", ("::1", 9443)),
        (":9443", ("", 9443)),
    ],
)
def test_listening_address_is_host_and_port(
    text: str, address: tuple[str, int]
) -> None:
    assert Address().convert(text, None, None) == address


@pytest.mark.parametrize("text", ["9443", "localhost:", "a:b", "a:65536", "a:-1", ""])
def test_address_that_is_none_is_a_usage_error(text: str) -> None:
    options = ["--listen", text, "--certificate", "c", "--key", "k"]
    result = CliRunner().invoke(webhook, options)
    assert result.exit_code == 2
    assert "must be HOST:PORT" in result.output


def test_certificate_that_cannot_be_served_ends_the_command_with_a_sentence(
    tmp_path: Path,
) -> None:
    options = ["--certificate", str(tmp_path / "c"), "--key", str(tmp_path / "k")]
    result = CliRunner().invoke(webhook, options)
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot serve certificate")


async def test_process_without_an_api_server_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    mount = Mount(tmp_path)
    mount.publish_pair(leaf_of(an_authority()))
    certificate = ServingCertificate(mount.certificate, mount.key)
    with pytest.raises(UnknownAPIServerError, match="KUBECONFIG"):
        await serve(
            host="127.0.0.1",
            port=0,
            certificate=certificate,
            metrics=WebhookMetrics(CollectorRegistry()),
        )
