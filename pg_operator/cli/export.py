"""`pg-operator export`: an existing server as objects that take it over."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final, TextIO

import click

from pg_operator.api.errors import Problem
from pg_operator.api.names import (
    cluster_name_problem,
    label_problem,
    secret_name_problem,
)
from pg_operator.api.secret import SecretText
from pg_operator.cli.manifests import write_manifests
from pg_operator.cli.options import (
    DSN,
    DSN_VARIABLE,
    read_connection,
    server_options,
)
from pg_operator.plan.export import Choices, Export, Inventory
from pg_operator.plan.export import export as export_inventory
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.dsn import drop_libpq_variables, parse_dsn
from pg_operator.postgres.errors import PostgresError
from pg_operator.postgres.tls import Certificates
from pg_operator.reconcilers.inventory import observe_inventory

_HEAD: Final = (
    "Applied as they are, these objects change nothing on the server but for their",
    "marks: what they declare is what is there. Read what is said beside them first.",
    "Not in here: what is PostgreSQL's own (template0, template1, roles pg_…), what an",
    "owner may do with its own, and properties that have their default.",
)


def _checked(
    problem: Callable[[str], Problem | None],
) -> Callable[[click.Context, click.Parameter, str], str]:
    """Make a callback of a rule for names."""

    def check(_: click.Context, __: click.Parameter, value: str) -> str:
        found = problem(value)
        if found is not None:
            raise click.BadParameter(found.detail)
        return value

    return check


@click.command()
@server_options
@click.option(
    "-n",
    "--namespace",
    required=True,
    callback=_checked(label_problem),
    help="The namespace that is to have the Databases and DatabaseRoles.",
)
@click.option(
    "--cluster",
    default="main",
    show_default=True,
    callback=_checked(cluster_name_problem),
    help="The name of the DatabaseCluster.",
)
@click.option(
    "--secret",
    default="postgres-admin",
    show_default=True,
    callback=_checked(secret_name_problem),
    help="The name of the Secret that the operator will find its DSN in.",
)
@click.option(
    "--database",
    "databases",
    multiple=True,
    help="Export this database only. May be repeated.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    help="Export this role only. May be repeated.",
)
def export(
    *,
    dsn_file: TextIO | None,
    ca_file: BinaryIO | None,
    namespace: str,
    cluster: str,
    secret: str,
    databases: tuple[str, ...],
    roles: tuple[str, ...],
) -> None:
    """Print the objects that take an existing server over as it is.

    The DSN is that of the operator's login to be, in --dsn-file or $PGOP_ADMIN_DSN. The
    server is only read; what cannot be said by objects is said in comments.
    """
    drop_libpq_variables(os.environ)
    connection = read_connection(dsn_file, ca_file)
    if connection is None:
        raise click.UsageError(f"Give --dsn-file, or the DSN in ${DSN_VARIABLE}.")
    choices = Choices(
        cluster=cluster,
        secret=secret,
        namespace=namespace,
        databases=frozenset(databases) or None,
        roles=frozenset(roles) or None,
    )
    try:
        inventory = asyncio.run(_observe(connection, choices))
    except PostgresError as error:
        raise click.ClickException(str(error)) from None
    exported = export_inventory(inventory, choices)
    click.echo(
        write_manifests(exported.objects, head=_head(inventory, exported)), nl=False
    )
    click.echo(_summary(exported), err=True)


async def _observe(connection: Mapping[str, bytes], choices: Choices) -> Inventory:
    parsed = parse_dsn(
        SecretText(connection[DSN].decode()),
        allow_loopback=True,
        certificates=Certificates.of_secret(connection),
    )
    connections = ServerConnections(parsed, read_only=True)
    try:
        return await observe_inventory(connections, parsed, choices)
    finally:
        await connections.close()


def _head(inventory: Inventory, exported: Export) -> list[str]:
    server = inventory.server
    login = f"'{server.login}'{', a superuser' if server.superuser else ''}"
    found = f"Exported from PostgreSQL {server.version}, read as {login}."
    left_out = [f"Not in here: {text}" for text in exported.left_out]
    return [found, *_HEAD, *left_out]


def _summary(exported: Export) -> str:
    remarks = sum(len(one.remarks) for one in exported.objects)
    return (
        f"{len(exported.objects)} objects, {remarks} remarks beside them; "
        f"{len(exported.left_out)} databases and roles left out, as the head says"
    )
