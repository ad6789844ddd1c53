"""`pg-operator release`: free the objects of an operator that is gone."""

from typing import Any

import click

from pg_operator.api.specs import FINALIZER, PLURALS, Kind
from pg_operator.cli.asking import ask
from pg_operator.cli.options import namespace
from pg_operator.kube.client import Kubernetes, object_path
from pg_operator.kube.errors import Conflict
from pg_operator.kube.paths import deployments_path

COMPONENT = "app.kubernetes.io/name=pg-operator,app.kubernetes.io/component=controller"


@click.command()
@namespace
@click.option(
    "--all",
    "everything",
    is_flag=True,
    required=True,
    help="Free every object of the three kinds.",
)
def release(*, namespace: str, everything: bool) -> None:
    """Take our finalizer from objects, so that they can be deleted.

    No server is touched: databases, roles and grants stay. For uninstalling, after the
    controller is gone.
    """
    del everything  # there is no release without it
    click.echo(ask(lambda kubernetes: _release(kubernetes, namespace)))


async def _release(kubernetes: Kubernetes, namespace: str) -> str:
    running, _ = await kubernetes.list(deployments_path(namespace), labels=COMPONENT)
    if any(one["spec"].get("replicas", 1) for one in running):
        raise click.ClickException(
            f"the controller in namespace {namespace} would take the objects back; "
            "delete config/default first"
        )
    freed = 0
    for kind in PLURALS:
        objects, _ = await kubernetes.list(object_path(kind, ""))
        for found in objects:
            freed += await _free(kubernetes, kind, found)
    return f"{freed} objects freed; nothing was changed on any server"


async def _free(kubernetes: Kubernetes, kind: Kind, obj: dict[str, Any]) -> int:
    """Take the finalizer from one object, as it is by now; return how many had it."""
    found: dict[str, Any] | None = obj
    while found is not None:
        metadata = found["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if FINALIZER not in finalizers:
            return 0
        left = [name for name in finalizers if name != FINALIZER]
        try:
            await kubernetes.patch_finalizers(found, left)
        except Conflict:
            where = (metadata.get("namespace", ""), metadata["name"])
            found = await kubernetes.read((kind, *where))
        else:
            return 1
    return 0
