"""Which hosts a DSN may name: servers elsewhere, not this pod or what is beside it."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Final

from pg_operator.postgres.errors import InvalidDSN

# Addresses of cloud metadata services that are not link-local.
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
)
_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal"})
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_host(host: str) -> None:
    """Refuse sockets, and what an unescaped password turns into.

    Raises:
        InvalidDSN: with a text that does not repeat it.
    """
    if host.startswith(("/", "@")):
        raise InvalidDSN("the DSN's host is a unix socket; name a host and port")
    if next(_addresses(host), None) is None and not _HOST_NAME.fullmatch(host):
        raise InvalidDSN(
            "the DSN's host is neither a host name nor an IP address; is a special"
            " character of the password not written as %XX?"
        )


def check_address(host: str, *, allow_loopback: bool) -> None:
    """Refuse addresses that lead to this pod, this node or a metadata service.

    Raises:
        InvalidDSN: with a text that does not repeat it.
    """
    name = host.rstrip(".").lower()
    if name in _METADATA_NAMES:
        raise InvalidDSN("the DSN's host is a metadata service")
    loopback = name in {"localhost", "ip6-localhost"} or name.endswith(".localhost")
    for address in _addresses(host):
        if address.is_link_local or address.is_multicast or address in _METADATA:
            raise InvalidDSN(
                "the DSN's host is a link-local, multicast or metadata address"
            )
        loopback = loopback or address.is_loopback or address.is_unspecified
    if loopback and not allow_loopback:
        raise InvalidDSN(
            "the DSN's host is this machine itself (loopback);"
            " --allow-loopback-servers would allow it"
        )


def _addresses(host: str) -> Iterator[_Address]:
    """Yield the address that `host` spells, and those packed into it."""
    try:
        address: _Address = ipaddress.ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        try:
            # getaddrinfo also reads 127.1, 2130706433 and 0x7f.1.
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv6Network("64:ff9b::/96")
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        elif address.sixtofour is not None:
            yield address.sixtofour
        elif address in nat64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
