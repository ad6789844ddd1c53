"""The command `pg-operator`."""

import click

from pg_operator.cli.certs import certs
from pg_operator.cli.check import check
from pg_operator.cli.controller import controller
from pg_operator.cli.export import export
from pg_operator.cli.plan import plan
from pg_operator.cli.release import release
from pg_operator.cli.run import run
from pg_operator.cli.webhook import webhook


@click.group()
@click.version_option(package_name="pg-operator")
def main() -> None:
    """PostgreSQL databases, logins and grants on existing servers, by kubectl apply."""


main.add_command(certs)
main.add_command(check)
main.add_command(controller)
main.add_command(export)
main.add_command(plan)
main.add_command(release)
main.add_command(run)
main.add_command(webhook)
