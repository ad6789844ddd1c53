"""What a container is started from: pure functions of a pod and its image."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localcluster.node import network
from tests.localcluster.node.api import Json
from tests.localcluster.node.container import ContainerSpec, Mount
from tests.localcluster.node.images import Image
from tests.localcluster.node.volumes import field_of


class PodError(Exception):
    """A pod cannot be run as it is; reason and message go into its status."""

    def __init__(self, reason: str, message: str) -> None:
        """Carry a container's waiting reason and message."""
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class PodLayout:
    """A pod and where the node keeps what is its."""

    pod: Json
    address: str
    directory: Path
    log: Path

    @property
    def network(self) -> Path:
        """The file that holds its network namespace open."""
        return self.directory / "network"

    def pid_file(self, container: str) -> Path:
        """The file with the pid of a container that runs."""
        return self.directory / f"{container}.pid"

    @property
    def volumes(self) -> Path:
        """The directory of its volumes."""
        return self.directory / "volumes"


def container_spec(
    spec: Json, layout: PodLayout, *, images: Mapping[str, Image]
) -> ContainerSpec:
    """Return what a container of a pod is started from. Raises PodError."""
    image = images.get(spec["image"])
    if image is None:
        raise PodError("ImagePullBackOff", f"the node has no {spec['image']}")
    pod = layout.pod
    if "initContainers" in pod["spec"]:
        message = "the node runs no init containers"
        raise PodError("CreateContainerConfigError", message)
    security = pod["spec"].get("securityContext", {})
    security = security | spec.get("securityContext", {})
    uid, gid = ids(security, image.recipe.user)
    environment = environment_of(spec, pod, image)
    argv = [*spec.get("command", image.recipe.entrypoint)]
    argv += spec.get("args", () if "command" in spec else image.recipe.command)
    name = pod["metadata"]["name"]
    return ContainerSpec(
        hostname=name[:63],
        network=layout.network,
        root=layout.directory / f"root-{spec['name']}",
        argv=[expand(word, environment) for word in argv],
        environment=environment,
        uid=uid,
        gid=gid,
        workdir=spec.get("workingDir", image.recipe.workdir),
        mounts=mounts_of(spec, layout, image),
        files=etc_files(name, layout.address),
        read_only_root=security.get("readOnlyRootFilesystem", False),
        log=layout.log,
    )


def mounts_of(spec: Json, layout: PodLayout, image: Image) -> list[Mount]:
    """Return the image's files and the volumes that a container mounts."""
    mounts = [
        Mount(source, path, read_only=True) for path, source in image.files.items()
    ]
    volumes = layout.pod["spec"].get("volumes", [])
    empty = {volume["name"] for volume in volumes if "emptyDir" in volume}
    for mount in spec.get("volumeMounts", []):
        if "subPath" in mount:
            message = f"the node mounts no part of a volume ({mount['name']})"
            raise PodError("CreateContainerConfigError", message)
        source = layout.volumes / mount["name"]
        writable = mount["name"] in empty and not mount.get("readOnly")
        mounts.append(Mount(source, mount["mountPath"], read_only=not writable))
    return mounts


def environment_of(spec: Json, pod: Json, image: Image) -> dict[str, str]:
    """Return a container's environment: the image's, Kubernetes' and its own."""
    values = dict(image.recipe.environment)
    values["HOSTNAME"] = pod["metadata"]["name"]
    values["KUBERNETES_SERVICE_HOST"] = network.SERVICE_ADDRESS
    values["KUBERNETES_SERVICE_PORT"] = "443"
    if "envFrom" in spec:
        message = "the node fills no environment from a whole Secret or ConfigMap"
        raise PodError("CreateContainerConfigError", message)
    for variable in spec.get("env", []):
        source = variable.get("valueFrom")
        if source is None:
            value = expand(variable.get("value", ""), values)
        elif "fieldRef" in source:
            value = field_of(pod, source["fieldRef"]["fieldPath"])
        else:
            message = f"the node fills {variable['name']} from no {sorted(source)}"
            raise PodError("CreateContainerConfigError", message)
        values[variable["name"]] = value
    return values


def ids(security: Mapping[str, Any], user: str) -> tuple[int, int]:
    """Return uid and gid of a container. Raises PodError as a kubelet does."""
    named, _, group = user.partition(":")
    uid = security.get("runAsUser", int(named) if named.isdigit() else None)
    if security.get("runAsNonRoot") and not uid:
        message = f"runAsNonRoot, and the image's user is '{user}', not a number"
        raise PodError("CreateContainerConfigError", message)
    gid = security.get("runAsGroup", int(group) if group.isdigit() else 0)
    return uid or 0, gid


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Fill $(NAME) in as Kubernetes does: what is unknown stays."""
    return re.sub(
        r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text
    )


def etc_files(name: str, address: str) -> dict[str, str]:
    """Return the files of /etc; without a DNS server hosts has all there is."""
    hosts = (
        "127.0.0.1 localhost\n"
        f"{address} {name}\n"
        f"{network.SERVICE_ADDRESS} kubernetes.default.svc kubernetes.default\n"
    )
    return {
        "/etc/hosts": hosts,
        "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": "root:x:0:\n",
        "/etc/nsswitch.conf": "hosts: files\n",
    }
