"""The rules for a DatabaseCluster. Pure."""

from typing import Final

from pg_operator.api.fields import Field
from pg_operator.api.names import (
    label_problem,
    name_prefix_problem,
    secret_key_problem,
    secret_name_problem,
    tablespace_problem,
)
from pg_operator.api.validation.adoption import (
    MOST_OWNER_IDS,
    check_adoption,
    owner_id_problem,
    system_identifier_problem,
)
from pg_operator.api.validation.attributes import check_allowed_attributes
from pg_operator.api.validation.common import (
    check_allowed_namespaces,
    check_names,
    check_role_names,
)
from pg_operator.api.validation.extensions import extension_problem
from pg_operator.api.validation.memberships import check_allowed_memberships
from pg_operator.api.validation.parameters import parameter_problem
from pg_operator.api.values import resync_interval_problem

MOST_CONNECTIONS: Final = 100
MOST_ALLOWED: Final = 256
# A DatabaseCluster has no namespace of its own that `Same` could mean.
NAMESPACE_CHOICES: Final = ("All", "None", "Names", "Selector")


def check_cluster(spec: Field) -> None:
    """Check the spec of a DatabaseCluster."""
    _check_connection(spec["connection"])
    check_allowed_namespaces(spec["allowedNamespaces"], choices=NAMESPACE_CHOICES)
    spec["namePrefix"].check_text(name_prefix_problem)
    check_allowed_memberships(spec["allowedMemberships"])
    check_allowed_attributes(spec["allowedRoleAttributes"])
    check_role_names(spec["allowedOwners"], most=MOST_ALLOWED)
    check_names(spec["allowedParameters"], most=MOST_ALLOWED, problem=parameter_problem)
    check_names(spec["allowedExtensions"], most=MOST_ALLOWED, problem=extension_problem)
    check_names(
        spec["allowedTablespaces"], most=MOST_ALLOWED, problem=tablespace_problem
    )
    check_adoption(spec["adoption"])
    spec["ownerId"].check_text(owner_id_problem)
    check_names(spec["previousOwnerIds"], most=MOST_OWNER_IDS, problem=owner_id_problem)
    spec["expectedSystemIdentifier"].check_text(system_identifier_problem)
    spec["maxConnections"].check_integer(
        1, MOST_CONNECTIONS, detail=f"must be between 1 and {MOST_CONNECTIONS}"
    )
    spec["resyncInterval"].check_text(resync_interval_problem)


def _check_connection(connection: Field) -> None:
    connection = connection.hide()  # a DSN is easily written here by mistake
    connection.require("must name the Secret that holds the DSN of the server")
    if connection.has_type("object", hint=" with the name of a Secret"):
        connection["name"].require("must be the name of a Secret")
        connection["name"].check_text(secret_name_problem)
        connection["namespace"].check_text(label_problem)
        connection["key"].check_text(secret_key_problem)
