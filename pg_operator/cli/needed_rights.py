"""What config/ gives the accounts of an installation, as its Deployments tell."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from pg_operator.cli.deployments import SELF_SIGNED, arguments_of
from pg_operator.kube.rights import Right, rights_of

CONTROLLER: Final = "pg-operator-controller"
WEBHOOK: Final = "pg-operator-webhook"
# The ClusterRole that overlay `namespaced` binds in chosen namespaces only.
TENANTS: Final = "pg-operator-tenants"
_ROLES: Final = {"ClusterRole", "Role"}
# What config/default starts; so does who runs the program without Deployments.
_USUAL: Final = ((CONTROLLER, ("controller",)), (WEBHOOK, ("webhook",)))
_NAMESPACES: Final = "--namespaces="


def needed_rights(
    deployments: Sequence[Mapping[str, Any]],
    *,
    namespace: str,
    namespaces: frozenset[str] = frozenset(),
) -> dict[str, list[Right]]:
    """Return the rights that each ServiceAccount needs, by its name.

    `namespaces` counts where no Deployment says `--namespaces`.
    """
    needed: dict[str, list[Right]] = {}
    for account, arguments in [*map(_started, deployments)] or _USUAL:
        said = [
            name
            for argument in arguments
            if argument.startswith(_NAMESPACES)
            for name in argument.removeprefix(_NAMESPACES).split(",")
        ]
        tenants = frozenset(said) or namespaces or frozenset({""})
        for role in _roles_for(arguments):
            places = frozenset({""})
            if role["kind"] == "Role":
                places = frozenset({namespace})
            elif role["metadata"]["name"] == TENANTS:
                places = tenants
            rights = rights_of(role, namespaces=sorted(places))
            needed.setdefault(account, []).extend(rights)
    return needed


def _started(deployment: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """Return the ServiceAccount of a Deployment of ours, and what it starts."""
    pod = deployment["spec"]["template"]["spec"]
    return pod["serviceAccountName"], arguments_of(deployment)


def _roles_for(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return the roles that config/ binds to what is started so."""
    rooms = []
    if arguments[0] in {"controller", "run"}:
        rooms.append("rbac/controller.yaml")
    if arguments[0] in {"webhook", "run"}:
        rooms.append("rbac/webhook.yaml")
    if SELF_SIGNED in arguments:
        rooms.append("self-signed/rbac.yaml")
    return [
        one
        for room in rooms
        for one in yaml.safe_load_all(_shipped(room))
        if one["kind"] in _ROLES
    ]


def _shipped(path: str) -> str:
    """Read a file of config/: from the wheel, else from the checkout."""
    shipped = files("pg_operator").joinpath("_manifests", path)
    checkout = Path(__file__).parents[2] / "config" / path
    return (shipped if shipped.is_file() else checkout).read_text(encoding="utf-8")
