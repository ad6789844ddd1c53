"""`pg-operator webhook`: the admission webhook process."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import click
from prometheus_client import CollectorRegistry

from certs.reload import CertificateError, ServingCertificate
from certs.serving import Certificate
from pg_operator.cli.options import Address, log_format, namespace
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import NotConfigured
from pg_operator.runtime.logs import configure_logging
from webhooks.authority import OwnCertificate, service_names
from webhooks.main import DRAIN_SECONDS, UnknownAPIServerError, serve
from webhooks.metrics import WebhookMetrics

_OPTIONS = (
    click.option(
        "--listen",
        type=Address(),
        default="0.0.0.0:9443",
        show_default=True,
        help="Where to serve HTTPS.",
    ),
    click.option(
        "--certs",
        type=click.Choice(["files", "self", "off"]),
        default="files",
        show_default=True,
        help="Serve the certificate in files, or one signed by an authority of our own "
        "in a Secret; `run` can go without the webhook.",
    ),
    click.option(
        "--certificate",
        type=click.Path(path_type=Path),
        help="PEM file with the serving certificate; followed when it changes.",
    ),
    click.option(
        "--key",
        type=click.Path(path_type=Path),
        help="PEM file with the certificate's private key.",
    ),
    click.option(
        "--serving-host",
        "serving_hosts",
        multiple=True,
        help="A further name or address in a certificate of `--certs=self`, beside "
        "those of the Service. May be repeated.",
    ),
    click.option(
        "--drain-seconds",
        type=click.FloatRange(min=0),
        default=DRAIN_SECONDS,
        show_default=True,
        help="How long to keep answering, not ready, after SIGTERM.",
    ),
)


def webhook_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that WebhookOptions holds."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """What the command line says of the webhook."""

    namespace: str
    listen: tuple[str, int]
    certs: Literal["files", "self", "off"]
    certificate: Path | None
    key: Path | None
    serving_hosts: tuple[str, ...]
    drain_seconds: float

    def mounted(self) -> ServingCertificate | None:
        """Load the pair of files, if it is to be served.

        Raises:
            click.ClickException: it cannot be.
        """
        if self.certs != "files":
            return None
        if self.certificate is None or self.key is None:
            raise click.UsageError(
                "--certificate and --key must be given with --certs=files"
            )
        try:
            return ServingCertificate(self.certificate, self.key)
        except CertificateError as error:
            raise click.ClickException(str(error)) from error

    async def serve(
        self,
        mounted: ServingCertificate | None,
        metrics: WebhookMetrics,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        """Serve admission with the pair of files, or with our own certificate."""
        if mounted is not None:
            await self._serve(mounted, metrics, stop=stop)
            return
        async with await Kubernetes.from_environment() as kubernetes:
            await self._serve(self._own(kubernetes), metrics, stop=stop)

    async def _serve(
        self,
        certificate: Certificate,
        metrics: WebhookMetrics,
        *,
        stop: threading.Event | None,
    ) -> None:
        host, port = self.listen
        await serve(
            host=host,
            port=port,
            certificate=certificate,
            metrics=metrics,
            drain_seconds=self.drain_seconds,
            stop=stop,
        )

    def _own(self, kubernetes: Kubernetes) -> OwnCertificate:
        addresses = [host for host in self.serving_hosts if _is_address(host)]
        names = [host for host in self.serving_hosts if host not in addresses]
        return OwnCertificate(
            kubernetes,
            namespace=self.namespace,
            hosts=[*service_names(self.namespace), *names],
            addresses=addresses,
            now=lambda: datetime.now(UTC),
        )


@click.command()
@webhook_options
@namespace
@log_format
def webhook(*, log_format: str, **values: Any) -> None:
    """Answer the API server's admission reviews of the three kinds."""
    options = WebhookOptions(**values)
    if options.certs == "off":
        raise click.UsageError("--certs=off is for `pg-operator run` only")
    mounted = options.mounted()
    configure_logging(as_json=log_format == "json")
    try:
        asyncio.run(options.serve(mounted, WebhookMetrics(CollectorRegistry())))
    except (OSError, UnknownAPIServerError, NotConfigured) as error:
        raise click.ClickException(str(error)) from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
