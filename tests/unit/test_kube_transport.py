"""A request is sent once, by the right one, and fails as one of our errors."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes.aio.config import incluster_config

from certs.issue import issue_authority, issue_leaf
from pg_operator.kube.client import Kubernetes, core_path
from pg_operator.kube.errors import (
    Forbidden,
    NotConfigured,
    NotLeading,
    TooManyRequests,
    Unreachable,
)
from tests.unit.kube_bed import (
    FakeAPIServer,
    fake_api_server,
    refuses,
    says,
    secret,
    streams,
    write_kubeconfig,
)

NAMESPACE = {"metadata": {"uid": "uid-of-the-cluster"}}


def tokens(server: FakeAPIServer) -> list[str]:
    """Return the tokens that were sent."""
    return [request.headers["Authorization"] for request in server.requests]


async def test_token_is_read_anew_when_it_is_refused(tmp_path: Path) -> None:
    async with (
        fake_api_server(tmp_path, refuses(401), says(NAMESPACE)) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        text = server.kubeconfig.read_text(encoding="utf-8")
        server.kubeconfig.write_text(text.replace("first", "second"), encoding="utf-8")
        assert await kubernetes.kube_system_uid() == "uid-of-the-cluster"
        assert tokens(server) == ["Bearer first", "Bearer second"]


async def test_who_may_not_write_still_reads(tmp_path: Path) -> None:
    async with (
        fake_api_server(tmp_path, says(NAMESPACE)) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        kubernetes.write_only_while(lambda: False)
        with pytest.raises(NotLeading):
            await kubernetes.create_secret("shop", "keys", {})
        assert await kubernetes.kube_system_uid() == "uid-of-the-cluster"
        assert [request.method for request in server.requests] == ["GET"]


async def test_pods_token_is_read_anew_when_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    authority = issue_authority(common_name="fake", now=now, lifetime=hour)
    leaf = issue_leaf(
        authority,
        dns_names=["kubernetes.default.svc"],
        ip_addresses=["127.0.0.1"],
        now=now,
        lifetime=hour,
    )
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first", encoding="utf-8")
    ca.write_bytes(authority.certificate_pem)
    pair = tmp_path / "pair.pem"
    pair.write_bytes(leaf.private_key_pem + leaf.certificate_pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair)
    async with fake_api_server(
        tmp_path, refuses(401), says(NAMESPACE), tls=tls
    ) as server:
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        async with await Kubernetes.connect(None) as kubernetes:
            token.write_text("second", encoding="utf-8")
            assert await kubernetes.kube_system_uid() == "uid-of-the-cluster"
        assert [sent.lower() for sent in tokens(server)] == [
            "bearer first",
            "bearer second",
        ]


async def test_token_that_stays_refused_is_forbidden_after_two_requests(
    tmp_path: Path,
) -> None:
    async with (
        fake_api_server(tmp_path, refuses(401), refuses(401)) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        with pytest.raises(Forbidden):
            await kubernetes.kube_system_uid()
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [403, 409, 422, 429, 500, 503])
async def test_refused_request_is_not_repeated(tmp_path: Path, status: int) -> None:
    async with (
        fake_api_server(tmp_path, refuses(status)) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        with pytest.raises(Exception, match="no"):
            await kubernetes.request("PATCH", "/api/v1/x", body={})
        assert len(server.requests) == 1


async def test_server_says_how_long_to_wait(tmp_path: Path) -> None:
    busy = says({"message": "busy"}, status=429, Retry_After="7")
    async with (
        fake_api_server(tmp_path, busy) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        with pytest.raises(TooManyRequests) as caught:
            await kubernetes.kube_system_uid()
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "answer", [says([1]), streams(b"<html>"), streams(b'{"a":', then="cut")]
)
async def test_answer_that_is_no_object_is_no_answer(
    tmp_path: Path,
    answer: object,
) -> None:
    async with (
        fake_api_server(tmp_path, answer) as server,  # type: ignore[arg-type]
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        with pytest.raises(Unreachable):
            await kubernetes.kube_system_uid()


async def test_server_that_is_away_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        write_kubeconfig(tmp_path / "kubeconfig", address, token="first")
        async with await Kubernetes.connect(str(tmp_path / "kubeconfig")) as kubernetes:
            with pytest.raises(Unreachable, match="GET /api/v1/namespaces/kube-system"):
                await kubernetes.kube_system_uid()


async def test_proxy_of_the_environment_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with (
        fake_api_server(tmp_path, says(NAMESPACE)) as server,
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        assert await kubernetes.kube_system_uid() == "uid-of-the-cluster"


async def test_list_is_read_to_its_last_page(tmp_path: Path) -> None:
    def page(name: str, following: str) -> object:
        return says(
            {
                "apiVersion": "v1",
                "kind": "SecretList",
                "metadata": {"resourceVersion": "9", "continue": following},
                "items": [secret(name, "3")],
            }
        )

    async with (
        fake_api_server(tmp_path, page("a", "more"), page("b", "")) as server,  # type: ignore[arg-type]
        await Kubernetes.connect(str(server.kubeconfig)) as kubernetes,
    ):
        objects, version = await kubernetes.list(core_path("secrets"))
    assert [obj["metadata"]["name"] for obj in objects] == ["a", "b"]
    assert {(obj["apiVersion"], obj["kind"]) for obj in objects} == {("v1", "Secret")}
    assert version == "9"
    assert [request.query.get("continue") for request in server.requests] == [
        None,
        "more",
    ]


async def test_environment_names_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_api_server(tmp_path, says(NAMESPACE)) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        async with await Kubernetes.from_environment() as kubernetes:
            assert await kubernetes.kube_system_uid() == "uid-of-the-cluster"


@pytest.mark.parametrize("text", [None, "", "no: [kubeconfig", "{}", "[]"])
async def test_missing_or_broken_kubeconfig_says_what_to_set(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(NotConfigured, match="KUBECONFIG"):
        await Kubernetes.connect(str(path))


async def test_without_any_configuration_a_pod_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NotConfigured, match="ServiceAccount"):
        await Kubernetes.from_environment()
