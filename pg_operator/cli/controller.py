"""`pg-operator controller`: the process that makes stored objects true."""

import asyncio
import logging
import os
import sys

import click

from pg_operator.cli.webhook import Address
from pg_operator.postgres.dsn import drop_libpq_variables
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.controller import run
from pg_operator.runtime.logs import configure_logging
from pg_operator.runtime.settings import ControllerSettings

logger = logging.getLogger(__name__)


@click.command()
@click.option(
    "--namespace",
    envvar="POD_NAMESPACE",
    default="pg-operator-system",
    show_default=True,
    show_envvar=True,
    help="The operator's own namespace.",
)
@click.option(
    "--connection-namespaces",
    default="",
    metavar="NAME,NAME",
    help="Further namespaces that DSN Secrets may lie in.",
)
@click.option(
    "--allow-loopback-servers",
    is_flag=True,
    help="Let DSNs point at this machine. For development.",
)
@click.option(
    "--health-address",
    type=Address(),
    default="0.0.0.0:8081",
    show_default=True,
    help="Where to serve /livez, /readyz and /metrics.",
)
@click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="How to write the log to standard error.",
)
def controller(
    *,
    namespace: str,
    connection_namespaces: str,
    allow_loopback_servers: bool,
    health_address: tuple[str, int],
    log_format: str,
) -> None:
    """Work on the objects of the three kinds until SIGTERM."""
    configure_logging(as_json=log_format == "json")
    # A DSN says all there is to say: the environment must not fill its gaps.
    drop_libpq_variables(os.environ)
    names = (name.strip() for name in connection_namespaces.split(","))
    settings = ControllerSettings(
        reconcilers=Settings(
            namespace=namespace,
            connection_namespaces=frozenset(filter(None, names)),
            allow_loopback_servers=allow_loopback_servers,
        ),
        health_address=health_address,
    )
    try:
        asyncio.run(run(settings))
    except Exception:
        logger.exception("Cannot go on")
        sys.exit(1)
