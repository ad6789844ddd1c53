"""Every rule of admission, and where it holds. Pure.

docs/errors.md is made of this table and of the refused samples; tests hold it equal to
what the code reports and to what the API server refuses without the webhook.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Layer = Literal["schema", "CEL", "webhook", "guard"]

_CODE: Final[tuple[Layer, ...]] = ("webhook", "guard")


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, and who sees to it.

    `schema` and `CEL` hold in the API server itself, also while the webhook is down;
    `guard` is the controller, which looks again at what is stored. `where` names the
    fields where a layer of the API server has it, if not everywhere. `example` is a
    message of a rule that no single sample can break.
    """

    must: str
    layers: tuple[Layer, ...]
    where: str = ""
    example: str = ""

    @property
    def floor(self) -> tuple[Layer, ...]:
        """The layers that hold without the webhook."""
        return tuple(layer for layer in self.layers if layer not in _CODE)


def _rule(must: str, *floor: Layer, where: str = "") -> Rule:
    return Rule(must, (*floor, *_CODE), where)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "all-alone": _rule("`ALL` stands alone in a list of privileges.", "schema"),
        "choice": _rule("A value is one of those that a field supports.", "schema"),
        "claimed": Rule(
            "A new object names no database or role that a living object of another "
            "namespace holds on the same server. The controller decides by the mark "
            "on the server, and says `Conflict`.",
            ("webhook",),
            example="spec.name: Forbidden: database 'orders' on DatabaseCluster 'main' "
            "is already managed by another object; choose another name or ask the "
            "cluster's administrator",
        ),
        "cluster-name": _rule(
            "`databaseClusterRef.name` is the metadata.name of a DatabaseCluster.",
            "CEL",
        ),
        "column-wildcard": _rule(
            "A column is named; for all of them, grant on the table.", "schema"
        ),
        "columns-of-all": _rule(
            "Columns are listed for a table that is named, not for `*`.", "CEL"
        ),
        "duplicate": _rule(
            "Nothing is listed twice, and the entries of a list differ by their key.",
            "schema",
            where="keys, and sets of names; not words of privileges",
        ),
        "duration": _rule(
            "A duration is written as Go writes it: `90s`, `1h30m`.", "CEL"
        ),
        "duration-range": _rule("`resyncInterval` is between 5s and 24h.", "CEL"),
        "encoding": _rule(
            "`encoding` is a server encoding, by PostgreSQL's own name.", "schema"
        ),
        "except-wildcard": _rule("A table that is left out of `*` is named.", "schema"),
        "extension-name": _rule("An extension is named as its files are.", "schema"),
        "extension-version": _rule(
            "A version of an extension is one as its files have it.", "schema"
        ),
        "generate-xor-password": _rule(
            "A password is given by a Secret or generated, not both.", "CEL"
        ),
        "grantable": _rule(
            "Only what is granted can be granted on: `grantable` has words of "
            "`privileges`."
        ),
        "host-role": _rule(
            "Nobody becomes a member of a role that reaches the server's host.",
            "schema",
        ),
        "immutable": Rule(
            "What names an object on its server, and what can only be chosen at "
            "creation, stays as it is. The controller says `Immutable`.",
            ("CEL", "webhook"),
        ),
        "label": _rule("A label is named, and has a value, as Kubernetes allows it."),
        "list-unused": _rule(
            "The lists of `adoption` are for `policy: Listed` only.", "CEL"
        ),
        "locale": _rule("A locale is named as the server names it.", "schema"),
        "member-of-itself": _rule("A role is a member of other roles only."),
        "name-characters": _rule(
            "A name that is referred to has no control characters.", "schema", "CEL"
        ),
        "name-length": _rule(
            "A name that is referred to has 1 to 63 bytes.",
            "schema",
            where="characters, not bytes",
        ),
        "name-pattern": _rule(
            "A name that is created is 1 to 63 of `a-z`, `0-9`, `_`, `$` and `-`, and "
            "starts with a letter or `_`.",
            "CEL",
        ),
        "name-prefix": _rule("`namePrefix` can begin a valid name.", "CEL"),
        "name-reserved": _rule(
            "No name is used that PostgreSQL, a cloud or pg_hba.conf gives a meaning.",
            "schema",
            "CEL",
            where="names that are created, memberships, and databases",
        ),
        "names-unused": _rule(
            "`allowedNamespaces.names` is for `from: Names` only, and `selector` for "
            "`from: Selector`.",
            "CEL",
        ),
        "namespace-name": _rule(
            "A namespace is named as Kubernetes allows it.", "schema", "CEL"
        ),
        "owner-id": _rule(
            "An id of an operator is 1 to 63 printable characters.",
            "schema",
            where="its length",
        ),
        "parameter-name": _rule(
            "A parameter is named as in PostgreSQL, in lower case.",
            "schema",
            where="`allowedParameters`",
        ),
        "parameter-value": _rule(
            "A parameter's value is one line of text.", "schema", where="its length"
        ),
        "privilege": _rule(
            "A privilege is one that the kind of object has, spelt as in PostgreSQL.",
            "schema",
        ),
        "range": _rule("A number is within its limits.", "schema"),
        "required": _rule(
            "What an object cannot do without is there.", "schema", "CEL"
        ),
        "schema-xor-schemas": _rule(
            "`schema` is set or `schemas` is, not both.", "CEL"
        ),
        "secret-key": _rule("A key of a Secret is named as Kubernetes allows.", "CEL"),
        "secret-name": _rule(
            "A Secret is named; what it holds is never written into an object.", "CEL"
        ),
        "secret-twice": _rule(
            "The Secret to connect from is another than the password's.", "CEL"
        ),
        "secret-without-password": _rule(
            "A Secret to connect from needs a password to be in it.", "CEL"
        ),
        "service-name": _rule("`databaseServiceName` can name a Service.", "CEL"),
        "service-reserved": _rule(
            "`databaseServiceName` is not `kubernetes`, which is the API server.",
            "CEL",
        ),
        "signature": _rule(
            "A function is a name and the types of its arguments.", "schema"
        ),
        "successor-of-itself": _rule(
            "`reassignOwnedTo` is another role than the one that goes."
        ),
        "superuser": _rule("A superuser is never managed.", "schema"),
        "system-schema": _rule(
            "Nothing is granted or made in schemas of PostgreSQL itself.",
            "schema",
            where="permissions",
        ),
        "selector-values": _rule(
            "`values` are listed for the operators `In` and `NotIn` only."
        ),
        "system-identifier": _rule(
            "`expectedSystemIdentifier` is the number that the status shows.", "CEL"
        ),
        "timezone": _rule("`timezone` is the name of a time zone.", "CEL"),
        "timezone-twice": _rule(
            "`timezone` is set or `parameters.timezone` is, not both.", "CEL"
        ),
        "too-many": _rule("A list is no longer than its limit.", "schema"),
        "type": _rule("A value has the type of its field.", "schema"),
        "valid-until": _rule(
            "`validUntil` is a date and time with its zone, or `infinity`.", "CEL"
        ),
    }
)
