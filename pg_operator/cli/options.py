"""Options that several commands have."""

import os
from datetime import timedelta
from typing import Final, TextIO

import click

from pg_operator.api.secret import SecretText
from pg_operator.api.values import parse_duration

DSN_VARIABLE: Final = "PGOP_ADMIN_DSN"


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
dsn_file = click.option(
    "--dsn-file",
    type=click.File(encoding="utf-8"),
    help=f"A file with the server's DSN. Default: what ${DSN_VARIABLE} holds.",
)


def read_dsn(file: TextIO | None) -> SecretText | None:
    """Return the DSN of `dsn_file`, or else of the environment; None without both."""
    if file is not None:
        return SecretText(file.read().strip())
    text = os.environ.get(DSN_VARIABLE)
    return SecretText(text) if text else None
