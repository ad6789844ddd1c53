"""`pg-operator controller`: the process that makes stored objects true."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click
from prometheus_client import CollectorRegistry

from pg_operator.cli.options import (
    Address,
    Interval,
    Names,
    log_format,
    namespace,
)
from pg_operator.postgres.dsn import drop_libpq_variables
from pg_operator.reconcilers.settings import Settings
from pg_operator.runtime.controller import run, stop_on_signals
from pg_operator.runtime.election import log_end
from pg_operator.runtime.logs import configure_logging
from pg_operator.runtime.settings import ControllerSettings

_OPTIONS = (
    click.option(
        "--namespaces",
        type=Names(),
        default="",
        help="The only namespaces to work in; all if there are none.",
    ),
    click.option(
        "--connection-namespaces",
        type=Names(),
        default="",
        help="Further namespaces that DSN Secrets may lie in.",
    ),
    click.option(
        "--allow-loopback-servers",
        is_flag=True,
        help="Let DSNs point at this machine. For development.",
    ),
    click.option(
        "--leader-elect",
        is_flag=True,
        help="Work only while holding the Lease, as one of several controllers.",
    ),
    click.option(
        "--sweep-interval",
        type=Interval(),
        default="1m",
        show_default=True,
        help="How often to look every server over for what was changed by hand.",
    ),
    click.option(
        "--health-address",
        type=Address(),
        default="0.0.0.0:8081",
        show_default=True,
        help="Where to serve /livez, /readyz and /metrics.",
    ),
)


def controller_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `controller_settings` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def controller_settings(
    *,
    namespace: str,
    namespaces: frozenset[str],
    connection_namespaces: frozenset[str],
    allow_loopback_servers: bool,
    leader_elect: bool,
    sweep_interval: timedelta,
    health_address: tuple[str, int],
) -> ControllerSettings:
    """Return the settings that the options say."""
    return ControllerSettings(
        reconcilers=Settings(
            namespace=namespace,
            namespaces=namespaces,
            connection_namespaces=connection_namespaces,
            allow_loopback_servers=allow_loopback_servers,
        ),
        leader_elect=leader_elect,
        sweep_interval=sweep_interval,
        health_address=health_address,
    )


@click.command()
@controller_options
@namespace
@log_format
def controller(*, log_format: str, **options: Any) -> None:
    """Work on the objects of the three kinds until SIGTERM."""
    configure_logging(as_json=log_format == "json")
    # A DSN says all there is to say: the environment must not fill its gaps.
    drop_libpq_variables(os.environ)
    settings = controller_settings(**options)

    async def work() -> None:
        await run(settings, stop_on_signals(), registry=CollectorRegistry())

    try:
        asyncio.run(work())
    except Exception as error:  # noqa: BLE001 (told, whatever it is)
        log_end(error)
        sys.exit(1)
