"""What an administrator decides when starting the controller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The controller's flags that reconcilers obey.

    `namespace` is the operator's own. DSN Secrets may lie there and in
    `connection_namespaces`. Loopback servers are dialled only with
    `allow_loopback_servers`: a DSN that means the operator's own pod is a mistake.
    """

    namespace: str
    connection_namespaces: frozenset[str] = frozenset()
    allow_loopback_servers: bool = False
