"""The test bed's own rules, as far as they need no server."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.localcluster import spawn
from tests.localcluster.audit import read_requests
from tests.localcluster.binaries import build_flags, given_binaries
from tests.localcluster.gomodules import at_least, cache_key
from tests.localcluster.manifests import Identity, token_file, webhooks_by_url
from tests.localcluster.postgres_packages import (
    PACKAGES,
    packaged_programs,
    packaged_versions,
    restore_links,
)
from tests.localcluster.probes import free_ports
from tests.localcluster.processes import (
    BedError,
    Component,
    Process,
    Supervisor,
    environment,
    runs,
)
from tests.localcluster.progress import Progress, duration


@pytest.mark.parametrize(
    ("version", "needed", "enough"),
    [
        ("go1.26.8", "1.26.0", True),
        ("go1.26", "1.26.0", True),
        ("go1.9.9", "1.26.0", False),
        ("go2.0", "1.26.0", True),
        ("go1.27rc1", "1.26.0", False),
        ("", "1.26.0", False),
    ],
)
def test_go_older_than_the_module_asks_for_is_not_used(
    version: str, needed: str, *, enough: bool
) -> None:
    assert at_least(version, needed) is enough


def test_cache_key_tells_where_one_part_ends() -> None:
    assert cache_key("ab", "c") != cache_key("a", "bc")


def test_build_flags_give_the_programs_their_version() -> None:
    linked = build_flags("v1.37.2")[-1]
    assert "gitVersion=v1.37.2" in linked
    assert "gitMajor=1 " in linked
    assert linked.endswith("gitMinor=37")


def test_assets_without_an_api_server_are_refused(tmp_path: Path) -> None:
    (tmp_path / "etcd").touch()
    with pytest.raises(BedError, match="has no kube-apiserver"):
        given_binaries(str(tmp_path))


def test_token_file_keeps_groups_in_one_field() -> None:
    identity = Identity.service_account("pg-operator-webhook")
    token, _, rest = token_file([identity]).partition(",")
    assert token == identity.token
    assert rest.count('"') == 6
    assert rest.endswith(',system:authenticated"\n')


def test_identity_shows_no_token() -> None:
    identity = Identity.administrator("someone")
    assert identity.token not in repr(identity)


def test_webhooks_by_url_keep_everything_but_the_address() -> None:
    service = {"namespace": "a", "name": "b", "path": "/validate-database"}
    webhook = {"name": "w", "timeoutSeconds": 5, "clientConfig": {"service": service}}
    rewritten = webhooks_by_url(
        [{"kind": "ValidatingWebhookConfiguration", "webhooks": [webhook]}],
        base_url="https://127.0.0.1:9443",
        ca_pem=b"PEM",
    )
    url = "https://127.0.0.1:9443/validate-database"
    client = {"url": url, "caBundle": base64.b64encode(b"PEM").decode()}
    assert rewritten[0]["webhooks"] == [webhook | {"clientConfig": client}]
    assert webhook["clientConfig"] == {"service": service}


def audit_line(verb: str, stage: str) -> str:
    reference = {"resource": "databases", "subresource": "status", "name": "x"}
    event = {"stage": stage, "verb": verb, "user": {"username": "u"}}
    return json.dumps(event | {"objectRef": reference}) + "\n"


def test_audit_counts_each_request_once_and_no_half_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    lines = [
        audit_line("watch", "ResponseStarted"),
        audit_line("patch", "ResponseComplete"),
        audit_line("watch", "ResponseComplete"),
    ]
    log.write_text("".join(lines) + '{"stage": ', encoding="utf-8")
    found = list(read_requests(log, since=0))
    assert [(end, one.verb, one.writes) for end, one in found] == [
        (len(lines[0]), "watch", False),
        (len(lines[0] + lines[1]), "patch", True),
    ]
    assert [one.verb for _, one in read_requests(log, since=len(lines[0]))] == ["patch"]


def test_component_survives_its_file() -> None:
    component = Component(
        name="webhook",
        argv=("/bin/true", "--x"),
        log=Path("/logs/webhook.log"),
        environment={"KUBECONFIG": "/k"},
        stop_signal=signal.SIGTERM,
    )
    assert Component.from_json(component.to_json()) == component


def test_environment_lets_no_proxy_or_server_setting_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "PGHOST", "KUBECONFIG"):
        monkeypatch.setenv(name, "elsewhere")
    assert "elsewhere" not in environment({}).values()
    assert environment({"KUBECONFIG": "/k"})["KUBECONFIG"] == "/k"


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(5))) == 5


def sleeper(tmp_path: Path) -> Component:
    return Component(
        name="sleeper",
        argv=(sys.executable, "-c", "import signal; signal.pause()"),
        log=tmp_path / "sleeper.log",
        stop_signal=signal.SIGTERM,
    )


def test_supervisor_of_a_later_program_finds_and_ends_what_runs(
    tmp_path: Path,
) -> None:
    first = Supervisor(tmp_path / "processes", tied=True)
    started = first.start(sleeper(tmp_path))
    later = Supervisor(tmp_path / "processes", tied=False)
    found = later.find("sleeper")
    assert found is not None
    assert found.pid == started.pid
    assert later.stop_all() == ["sleeper"]
    assert not started.alive()
    assert later.components() == ()


def test_process_that_took_over_a_pid_is_not_ours_and_gets_no_signal(
    tmp_path: Path,
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        Process(sleeper(tmp_path), pid=other.pid, identity="boot 1").kill()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_run_is_over_when_its_program_is_not_the_recorded_one(tmp_path: Path) -> None:
    owner = tmp_path / "owner.pid"
    assert not runs(owner)
    spawn.write_pid_file(owner, os.getpid())
    assert runs(owner)
    owner.write_text(f"{os.getpid()} boot 1\n", encoding="utf-8")
    assert not runs(owner)


def server(tmp_path: Path, port: int) -> Component:
    serve = f"import http.server as h; h.test(port={port}, bind='127.0.0.1')"
    return Component(
        name="server",
        argv=(sys.executable, "-c", serve),
        log=tmp_path / "server.log",
        address=f"127.0.0.1:{port}",
        ready_url=f"tcp://127.0.0.1:{port}",
    )


def test_supervisor_takes_another_port_when_one_was_taken(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "processes", tied=True)
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        taken = occupant.getsockname()[1]
        offered = iter([taken, *free_ports(1)])
        process = supervisor.start_ready(
            lambda _: server(tmp_path, next(offered)), ports=0, timeout=20
        )
    assert process.component.address != f"127.0.0.1:{taken}"
    assert supervisor.recorded("server") == process.component
    supervisor.stop_all()


def test_supervisor_shows_the_log_of_what_does_not_start(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "processes", tied=True)
    broken = Component(
        name="broken",
        argv=(sys.executable, "-c", "raise SystemExit('no such flag')"),
        log=tmp_path / "broken.log",
        ready_url="tcp://127.0.0.1:1",
    )
    with pytest.raises(BedError, match="no such flag"):
        supervisor.start_ready(lambda _: broken, ports=0, timeout=20)
    assert supervisor.stop_all() == []


def test_tied_process_ends_with_a_program_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from tests.localcluster.processes import Component, Supervisor\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "component = Component.from_json((here / 'component.json').read_text())\n"
        "Supervisor(here / 'processes', tied=True).start_ready(\n"
        "    lambda ports: component, ports=1, timeout=10)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (port,) = free_ports(1)
    component = server(tmp_path, port)
    (tmp_path / "component.json").write_text(component.to_json(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    left = Supervisor(tmp_path / "processes", tied=False).find("server")
    assert left is None or left.wait_gone(timeout=10)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (59.4, "59 s"), (269.0, "4 min 29 s")]
)
def test_duration_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_without_a_terminal_is_a_line_per_event() -> None:
    stream = io.StringIO()
    times = iter([0.0, 42.0])
    progress = Progress(stream, clock=lambda: next(times))
    with (
        pytest.raises(ValueError, match="broken"),
        progress.step("building kubectl"),
    ):
        raise ValueError("broken")
    assert stream.getvalue().splitlines() == [
        "building kubectl ...",
        "building kubectl: failed after 42 s",
    ]


def test_every_packaged_server_is_pinned_by_a_hash() -> None:
    lock = json.loads((PACKAGES / "package-lock.json").read_text(encoding="utf-8"))
    pinned = {
        name.rpartition("/")[2]: package["integrity"].partition("-")[0]
        for name, package in lock["packages"].items()
        if name
    }
    versions = packaged_versions()
    assert versions == ("14", "15", "16", "17", "18")
    assert pinned == {f"postgresql-{version}": "sha512" for version in versions}


def test_server_that_nobody_packages_is_refused_with_those_that_are() -> None:
    with pytest.raises(BedError, match="no PostgreSQL 13: 14, 15"):
        packaged_programs("13", Progress(io.StringIO()))


def link_list(package: Path, *, target: str) -> None:
    (package / "native").mkdir()
    listed = [{"source": "native/libpq.so.5.15", "target": target}]
    (package / "native" / "pg-symlinks.json").write_text(json.dumps(listed))


def test_links_of_a_packaged_server_are_made_within_it(tmp_path: Path) -> None:
    link_list(tmp_path, target="native/libpq.so")
    restore_links(tmp_path)
    assert (tmp_path / "native" / "libpq.so").readlink() == Path("libpq.so.5.15")


def test_link_out_of_a_packaged_server_is_refused(tmp_path: Path) -> None:
    link_list(tmp_path, target="../elsewhere")
    with pytest.raises(BedError, match="outside"):
        restore_links(tmp_path)
