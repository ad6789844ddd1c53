"""What an administrator decides when starting the controller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """The controller's flags that reconcilers obey.

    `namespace` is the operator's own. Objects are worked on in `namespaces` only, or
    everywhere if there are none; those elsewhere can be deleted all the same. DSN
    Secrets may lie in the operator's namespace and in `connection_namespaces`. Loopback
    servers are dialled only with `allow_loopback_servers`: a DSN that means the
    operator's own pod is a mistake.
    """

    namespace: str
    namespaces: frozenset[str] = frozenset()
    connection_namespaces: frozenset[str] = frozenset()
    allow_loopback_servers: bool = False

    def works_in(self, namespace: str) -> bool:
        """Tell whether objects of a namespace are worked on."""
        return not self.namespaces or namespace in self.namespaces

    def secret_namespaces(self) -> frozenset[str]:
        """Return where Secrets are read; empty for everywhere."""
        if not self.namespaces:
            return frozenset()
        return self.namespaces | self.connection_namespaces | {self.namespace}
