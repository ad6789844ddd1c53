"""The node's own rules, as far as they need no namespaces."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.rights import ACCOUNTS, Right, granted, rights_of, unused
from tests.localcluster import namespaces
from tests.localcluster.audit import Request
from tests.localcluster.image import DOCKERFILE
from tests.localcluster.node.images import (
    DockerfileError,
    Image,
    Recipe,
    read_dockerfile,
)
from tests.localcluster.node.layout import PodError, expand, ids
from tests.localcluster.node.network import Addresses, hardware_address
from tests.localcluster.node.status import ContainerState, pod_status
from tests.localcluster.node.volumes import VolumeError, chosen, write_atomically
from tests.localcluster.processes import BedError


def test_dockerfile_is_read_as_far_as_it_decides_how_a_container_runs() -> None:
    text = """
        FROM a AS build
        USER root
        COPY . .
        # USER nobody
        FROM b
        ENV HOME=/none \\
            PATH=/opt/x/bin:${PATH}
        COPY --from=build /opt/x /opt/x
        WORKDIR /opt/x
        USER 65532:65532
        ENTRYPOINT ["/opt/x/bin/x"]
        CMD ["run"]
    """
    recipe = read_dockerfile(text)
    assert recipe.environment["PATH"].startswith("/opt/x/bin:/usr/local/sbin")
    assert recipe.environment["HOME"] == "/none"
    assert (recipe.user, recipe.workdir) == ("65532:65532", "/opt/x")
    assert (recipe.entrypoint, recipe.command) == (("/opt/x/bin/x",), ("run",))
    assert recipe.copied == ("/opt/x",)


def test_dockerfile_with_a_shell_before_the_program_is_refused() -> None:
    with pytest.raises(DockerfileError, match="JSON list"):
        read_dockerfile("FROM a\nENTRYPOINT exec /opt/x/bin/x")


def test_own_dockerfile_names_program_user_and_one_directory() -> None:
    recipe = read_dockerfile(DOCKERFILE.read_text(encoding="utf-8"))
    (copied,) = recipe.copied
    assert recipe.entrypoint[0].startswith(f"{copied}/")
    assert ids({"runAsNonRoot": True}, recipe.user) == (65532, 65532)


def test_image_survives_its_file() -> None:
    image = Image(recipe=Recipe(user="1:1", copied=("/x",)), files={"/x": Path("/y")})
    assert Image.from_json(image.to_json()) == image


@pytest.mark.parametrize("user", ["", "0", "somebody"])
def test_image_without_a_number_for_its_user_is_no_non_root(user: str) -> None:
    with pytest.raises(PodError, match="runAsNonRoot"):
        ids({"runAsNonRoot": True}, user)


def test_known_names_are_filled_in_and_others_stay() -> None:
    assert expand("$(A)/$(B) $A", {"A": "1"}) == "1/$(B) $A"


def test_volume_changes_as_a_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path, {"tls.crt": b"1", "tls.key": b"1", "old": b"1"})
    first = (tmp_path / "..data").resolve()
    write_atomically(tmp_path, {"tls.crt": b"2", "tls.key": b"2"})
    assert (tmp_path / "..data").resolve() != first
    assert not first.exists()
    seen = {path.name: path.read_bytes() for path in tmp_path.glob("[a-z]*")}
    assert seen == {"tls.crt": b"2", "tls.key": b"2"}


def test_volume_that_is_right_is_left_alone(tmp_path: Path) -> None:
    write_atomically(tmp_path, {"a": b"1"})
    before = (tmp_path / "..data").readlink()
    write_atomically(tmp_path, {"a": b"1"})
    assert (tmp_path / "..data").readlink() == before


def test_secret_without_a_key_that_is_asked_for_is_no_volume() -> None:
    what = {"name": "s", "items": [{"key": "a", "path": "b"}]}
    assert chosen({"a": b"1", "c": b"2"}, what) == {"b": b"1"}
    with pytest.raises(VolumeError, match="s has no"):
        chosen({}, what)
    assert chosen({}, what | {"optional": True}) == {}


def status_of(one: ContainerState, *, before: dict[str, object], now: str) -> dict:  # type: ignore[type-arg]
    return pod_status(
        [one], before=before, node_address="10.0.0.1", address="10.0.0.2", now=now
    )


def test_pod_is_ready_when_its_container_is_and_says_since_when() -> None:
    one = ContainerState(name="a", image="b")
    first = status_of(one, before={}, now="1")
    assert first["phase"] == "Pending"
    one.waiting, one.ready = None, True
    second = status_of(one, before=first, now="2")
    assert second["phase"] == "Running"
    since = {
        c["type"]: (c["status"], c["lastTransitionTime"]) for c in second["conditions"]
    }
    assert since["Ready"] == ("True", "2")
    assert since["PodScheduled"] == ("True", "1")


def test_addresses_are_not_given_again_at_once() -> None:
    addresses = Addresses()
    taken = [addresses.take() for _ in range(253)]
    assert len(set(taken)) == 253
    assert "10.244.0.1" not in taken
    assert addresses.take() == taken[0]


def test_hardware_addresses_are_local_and_differ_between_ends() -> None:
    ends = {hardware_address("10.244.0.9", end=end) for end in (0, 1)}
    assert ends == {"02:58:0a:f4:00:09", "06:58:0a:f4:00:09"}


def request(user: str, verb: str, resource: str) -> Request:
    return Request(
        user=user,
        verb=verb,
        group="",
        resource=resource,
        subresource="",
        namespace="",
        name="",
        code=200,
        authorized=True,
    )


def test_right_that_nobody_used_is_found() -> None:
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    controller, webhook = f"{ACCOUNTS}controller", f"{ACCOUNTS}webhook"
    rights = {right: {controller} for right in rights_of("r", [rule])}
    used = [request(controller, "get", "secrets"), request(webhook, "list", "secrets")]
    left = unused(rights, used)
    assert left == [Right(role="r", verb="list", resource="secrets", group="")]


def test_create_is_used_by_an_apply_that_made_something() -> None:
    right = Right(role="r", verb="create", resource="services", group="")
    applied = request("controller", "patch", "services")
    assert not right.serves(applied)
    assert right.serves(replace(applied, code=201))


def test_rights_are_those_that_a_binding_gives() -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    role = {"kind": "Role", "metadata": {"name": "r"}, "rules": [rule]}
    other = {"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []}
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "b"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "own", "name": "webhook"}],
    }
    found = granted([binding, role, other])
    (right,) = rights_of("r", [rule])
    assert found == {right: {"system:serviceaccount:own:webhook"}}


def test_machine_without_the_programs_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BedError, match="has no unshare, nsenter"):
        namespaces.enter()
