"""`pg-operator webhook`: the admission webhook process."""

import asyncio
from pathlib import Path

import click

from certs.reload import CertificateError, ServingCertificate
from webhooks.main import (
    DRAIN_SECONDS,
    UnknownAPIServerError,
    configure_logging,
    serve,
)


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT, where an IPv6 host stands in brackets and an empty host is any."""

    name = "host:port"

    def convert(
        self,
        value: str | tuple[str, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, int]:
        """Split the address; fails with a usage error that shows what is expected."""
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        if not (colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
            self.fail(f"{value!r} must be HOST:PORT, such as 0.0.0.0:9443", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


@click.command()
@click.option(
    "--listen",
    type=Address(),
    default="0.0.0.0:9443",
    show_default=True,
    help="Where to serve HTTPS.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    required=True,
    help="PEM file with the serving certificate; followed when it changes.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    required=True,
    help="PEM file with the certificate's private key.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    default=DRAIN_SECONDS,
    show_default=True,
    help="How long to keep answering, not ready, after SIGTERM.",
)
@click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="How to write the log to standard error.",
)
def webhook(
    *,
    listen: tuple[str, int],
    certificate: Path,
    key: Path,
    drain_seconds: float,
    log_format: str,
) -> None:
    """Answer the API server's admission reviews of the three kinds."""
    host, port = listen
    try:
        pair = ServingCertificate(certificate, key)
    except CertificateError as error:
        raise click.ClickException(str(error)) from error
    configure_logging(json=log_format == "json")
    try:
        asyncio.run(
            serve(host=host, port=port, certificate=pair, drain_seconds=drain_seconds)
        )
    except (OSError, UnknownAPIServerError) as error:
        raise click.ClickException(str(error)) from error
