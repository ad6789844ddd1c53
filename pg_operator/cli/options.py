"""Options that several commands have."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import BinaryIO, Final, TextIO, TypeVar

import click

from pg_operator.api.values import parse_duration
from pg_operator.postgres.errors import InvalidDSN
from pg_operator.postgres.tls import CA, Certificates

DSN_VARIABLE: Final = "PGOP_ADMIN_DSN"
# The key of a connection Secret that has the DSN, unless a spec names another.
DSN: Final = "connection"

T = TypeVar("T")


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


class Names(click.ParamType[frozenset[str]]):
    """NAME,NAME: none, one or several."""

    name = "name,name"

    def convert(
        self,
        value: str | frozenset[str],
        param: click.Parameter | None,  # noqa: ARG002 (click's own signature)
        ctx: click.Context | None,  # noqa: ARG002
    ) -> frozenset[str]:
        """Split the names."""
        if isinstance(value, frozenset):
            return value
        return frozenset(filter(None, (name.strip() for name in value.split(","))))


class Interval(click.ParamType[timedelta]):
    """A time as in Go, such as 1m, of a second at least."""

    name = "duration"

    def convert(
        self,
        value: str | timedelta,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> timedelta:
        """Read it; fails with a usage error that shows what is expected."""
        if isinstance(value, timedelta):
            return value
        try:
            interval = parse_duration(value)
        except ValueError:
            interval = timedelta()
        if interval < timedelta(seconds=1):
            message = f"{value!r} must be a duration of 1s or more, such as 1m"
            self.fail(message, param, ctx)
        return interval


log_format = click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="How to write the log to standard error.",
)
namespace = click.option(
    "--namespace",
    envvar="POD_NAMESPACE",
    default="pg-operator-system",
    show_default=True,
    show_envvar=True,
    help="The operator's own namespace.",
)
_DSN_FILE: Final = click.option(
    "--dsn-file",
    type=click.File(encoding="utf-8"),
    help=f"A file with the server's DSN. Default: what ${DSN_VARIABLE} holds.",
)
_CA_FILE: Final = click.option(
    "--ca-file",
    type=click.File("rb"),
    help="A PEM file with the CAs that vouch for the server, as ca.crt beside a DSN.",
)


def server_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options that `read_connection` takes."""
    return _DSN_FILE(_CA_FILE(command))


def read_connection(
    dsn_file: TextIO | None, ca_file: BinaryIO | None
) -> Mapping[str, bytes] | None:
    """Return what a connection Secret would hold; None when there is no DSN.

    The DSN is that of the file, or else of the environment.

    Raises:
        click.ClickException: there are CAs and no DSN, or the file holds none.
    """
    text = os.environ.get(DSN_VARIABLE) if dsn_file is None else dsn_file.read()
    if dsn_file is None and not text:
        if ca_file is not None:
            raise click.ClickException(
                f"--ca-file needs --dsn-file, or the DSN in ${DSN_VARIABLE}"
            )
        return None
    dsn = (text or "").strip()
    if not dsn:
        raise click.ClickException("the file of --dsn-file must hold a DSN")
    return {DSN: dsn.encode(), **_read_ca(ca_file)}


def _read_ca(file: BinaryIO | None) -> Mapping[str, bytes]:
    if file is None:
        return {}
    data = {CA: file.read()}
    with suppress(InvalidDSN):
        if Certificates.of_secret(data).ca is not None:
            return data
    raise click.ClickException("the file of --ca-file must hold certificates in PEM")
