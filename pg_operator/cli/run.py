"""`pg-operator run`: webhook and controller in one process, for small installs."""

import asyncio
import os
import sys
import threading
from datetime import timedelta
from typing import Any

import click
from prometheus_client import CollectorRegistry

from certs.reload import ServingCertificate
from pg_operator.cli.controller import controller_options, controller_settings
from pg_operator.cli.options import log_format, namespace
from pg_operator.cli.webhook import WebhookOptions, webhook_options
from pg_operator.postgres.dsn import drop_libpq_variables
from pg_operator.runtime.controller import run as run_controller
from pg_operator.runtime.controller import stop_on_signals
from pg_operator.runtime.election import log_end
from pg_operator.runtime.logs import configure_logging
from pg_operator.runtime.settings import ControllerSettings
from pg_operator.runtime.threads import run_in_thread
from webhooks.metrics import WebhookMetrics

# After the drain: what the server itself takes to close its connections.
CLOSING_SECONDS = 5.0


@click.command()
@webhook_options
@controller_options
@namespace
@log_format
def run(
    *,
    namespace: str,
    namespaces: frozenset[str],
    connection_namespaces: frozenset[str],
    allow_loopback_servers: bool,
    leader_elect: bool,
    sweep_interval: timedelta,
    health_address: tuple[str, int],
    log_format: str,
    **values: Any,
) -> None:
    """Do what `webhook` and `controller` do, in one process."""
    options = WebhookOptions(namespace=namespace, **values)
    mounted = options.mounted()
    configure_logging(as_json=log_format == "json")
    # A DSN says all there is to say: the environment must not fill its gaps.
    drop_libpq_variables(os.environ)
    settings = controller_settings(
        namespace=namespace,
        namespaces=namespaces,
        connection_namespaces=connection_namespaces,
        allow_loopback_servers=allow_loopback_servers,
        leader_elect=leader_elect,
        sweep_interval=sweep_interval,
        health_address=health_address,
    )
    try:
        asyncio.run(_run(settings, options, mounted))
    except Exception as error:  # noqa: BLE001 (told, whatever it is)
        log_end(error)
        sys.exit(1)


async def _run(
    settings: ControllerSettings,
    options: WebhookOptions,
    mounted: ServingCertificate | None,
) -> None:
    """Run both until SIGTERM; what ends one ends the other.

    Raises:
        Exception: the process cannot go on, and is to be started anew.
    """
    stop = stop_on_signals()
    registry = CollectorRegistry()
    async with asyncio.TaskGroup() as both:
        both.create_task(run_controller(settings, stop, registry=registry))
        if options.certs != "off":
            metrics = WebhookMetrics(registry)
            both.create_task(_admit(options, mounted, metrics, stop=stop))


async def _admit(
    options: WebhookOptions,
    mounted: ServingCertificate | None,
    metrics: WebhookMetrics,
    *,
    stop: asyncio.Event,
) -> None:
    """Serve admission in a thread until `stop` is set, then let it drain."""

    async def serve(ending: threading.Event) -> None:
        await options.serve(mounted, metrics, stop=ending)
        if not ending.is_set():
            raise RuntimeError("the webhook ended by itself")

    serving = asyncio.create_task(
        run_in_thread(
            "webhook", serve, end_seconds=options.drain_seconds + CLOSING_SECONDS
        )
    )
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        serving.cancel()
        await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()
