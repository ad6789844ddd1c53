"""`pg-operator plan`: the SQL that applying a file would come to."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, BinaryIO, Final, TextIO

import click

from pg_operator.cli.documents import BadDocuments, Documents, read_documents
from pg_operator.cli.options import read_connection, server_options
from pg_operator.cli.printable import printable
from pg_operator.cli.read_only import ReadOnly
from pg_operator.cli.world import World, world_of_cluster, world_of_server
from pg_operator.kube.errors import KubernetesError
from pg_operator.postgres.dsn import drop_libpq_variables
from pg_operator.postgres.errors import PostgresError
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.planning import Draft
from pg_operator.reconcilers.progress import Blocked

CHANGES: Final = 2  # the exit code when there is something to do

Connection = Mapping[str, bytes]
Plans = list[tuple[Key, Draft | Blocked]]


class _Misused(click.UsageError):
    """A wrong option; the exit code of others has another meaning here."""

    exit_code = 1


class _Command(click.Command):
    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            raise _Misused(error.format_message(), error.ctx) from None


@click.command(cls=_Command)
@click.option(
    "-f",
    "--filename",
    "file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="The file with the objects, `-` for standard input.",
)
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    help="The namespace of documents that name none.",
)
@click.option(
    "--operator-namespace",
    default="pg-operator-system",
    show_default=True,
    help="The operator's own namespace.",
)
@server_options
def plan(
    *,
    file: TextIO,
    namespace: str,
    operator_namespace: str,
    dsn_file: TextIO | None,
    ca_file: BinaryIO | None,
) -> None:
    """Print the SQL that applying a file would come to; nothing is changed.

    With a DSN, in --dsn-file or $PGOP_ADMIN_DSN, the server alone is asked. Without
    one, the objects, Secrets and servers of the current kubeconfig are.

    Exit code: 0 when there is nothing to do, 2 when there is, 1 after an error or when
    an object cannot be worked on.
    """
    drop_libpq_variables(os.environ)
    try:
        documents = read_documents(file.read(), namespace=namespace)
        connection = read_connection(dsn_file, ca_file)
        plans = asyncio.run(
            _plan(documents, connection, operator_namespace=operator_namespace)
        )
    except (BadDocuments, KubernetesError, PostgresError, ValueError) as error:
        lines = map(printable, str(error).splitlines())
        raise click.ClickException("\n".join(lines)) from None
    for key, found in plans:
        click.echo(show_plan(key, found))
    if any(isinstance(found, Blocked) or found.refused for _, found in plans):
        raise click.exceptions.Exit(1)
    changes = sum(found.changes for _, found in plans if isinstance(found, Draft))
    click.echo(f"-- {changes} statements to run" if changes else "-- nothing to do")
    if changes:
        raise click.exceptions.Exit(CHANGES)


async def _plan(
    documents: Documents, connection: Connection | None, *, operator_namespace: str
) -> Plans:
    plans: Plans = []
    async with _world(documents, connection, operator_namespace) as world:
        keys = [key for key in documents.objects if key.kind != "DatabaseCluster"]
        await world.foresee(keys)
        for key in keys:
            try:
                plans.append((key, await world.plan(key)))
            except Blocked as blocked:
                plans.append((key, blocked))
    return plans


@asynccontextmanager
async def _world(
    documents: Documents, connection: Connection | None, operator_namespace: str
) -> AsyncIterator[World]:
    if connection is not None:
        async with world_of_server(documents, connection) as world:
            yield world
        return
    async with (
        await ReadOnly.from_environment() as kubernetes,
        world_of_cluster(
            documents, kubernetes, operator_namespace=operator_namespace
        ) as world,
    ):
        yield world


def show_plan(key: Key, found: Draft | Blocked) -> str:
    """Show what would be done for an object, one statement or comment a line."""
    if isinstance(found, Blocked):
        return f"-- {key}\n{_why(found)}\n"
    lines = [f"-- {key}{'' if found.statements else ': nothing to do'}"]
    if found.refused is not None:
        lines.append(_why(found.refused))
    for database, statements in groupby(found.statements, lambda one: one.database):
        lines.append(_comment(_place(database)))
        lines += [f"{printable(statement.sql)};" for statement in statements]
    lines += [_comment(f"pending: {one.path}: {one.message}") for one in found.pending]
    return "\n".join([*lines, ""])


def _place(database: str | None) -> str:
    return "in the DSN's database" if database is None else f"in database {database}"


def _why(blocked: Blocked) -> str:
    return _comment(f"{blocked.reason}: {blocked.message}")


def _comment(text: str) -> str:
    return f"--   {printable(text)}"
