"""The rules for a DatabaseRole. Pure."""

from functools import partial
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import (
    created_name_problem,
    secret_key_problem,
    secret_name_problem,
)
from pg_operator.api.validation.attributes import check_role_properties
from pg_operator.api.validation.common import (
    check_cluster_reference,
    check_connection_limit,
    forbid_change,
)
from pg_operator.api.validation.connection_secret import check_connection_secret
from pg_operator.api.validation.memberships import check_member_of
from pg_operator.api.validation.parameters import check_parameters
from pg_operator.api.validation.permissions import check_permissions

GRANTS_POLICIES: Final = ("Additive", "Exact")
DELETION_POLICIES: Final = ("Delete", "Disable", "Retain")


def check_role(spec: Field) -> None:
    """Check the spec of a DatabaseRole."""
    name = spec["roleName"].require("must be the name of the role in PostgreSQL")
    name.check_text(partial(created_name_problem, "role"))
    check_cluster_reference(spec["databaseClusterRef"])
    _check_password(spec["password"])
    check_connection_secret(spec)
    spec["login"].check_boolean()
    check_connection_limit(spec["connectionLimit"])
    check_role_properties(spec)
    check_parameters(spec["parameters"])
    check_member_of(spec)
    spec["adopt"].check_boolean()
    spec["grantsPolicy"].check_choice(*GRANTS_POLICIES)
    _check_deletion(spec["deletionPolicy"], successor=spec["reassignOwnedTo"])
    _check_successor(spec)
    logs_in = spec["login"].value is True or (
        (spec["password"].is_present or spec["generatePassword"].value is True)
        and spec["login"].value is not False
    )
    check_permissions(spec["permissions"], logs_in=logs_in)


def check_role_change(new: Field, old: Field) -> None:
    """Check that what names the role stays as it was."""
    advice = "create a new DatabaseRole"
    forbid_change(new["roleName"], old["roleName"], advice=advice)
    forbid_change(
        new["databaseClusterRef"]["name"],
        old["databaseClusterRef"]["name"],
        advice=advice,
    )


def _check_deletion(policy: Field, *, successor: Field) -> None:
    policy.check_choice(*DELETION_POLICIES)
    if policy.value == "Delete" and not successor.is_present:
        policy.warn(
            "deleting this object will drop the role; what it owns is kept, by a role "
            "that nobody can log in as, unless `reassignOwnedTo` names another"
        )


def _check_successor(spec: Field) -> None:
    successor = spec["reassignOwnedTo"]
    successor.check_text(partial(created_name_problem, "role"))
    if successor.is_present and successor.value == spec["roleName"].value:
        detail = "must be another role; this one will be gone"
        successor.refuse(Problem("successor-of-itself", detail))
    if successor.is_present and spec["deletionPolicy"].value != "Delete":
        successor.warn("has no effect unless `deletionPolicy` is 'Delete'")


def _check_password(password: Field) -> None:
    password = password.hide()  # the password itself is easily written here by mistake
    if password.has_type("object", hint=" with the name of a Secret"):
        password["name"].require("must be the name of a Secret in the same namespace")
        password["name"].check_text(secret_name_problem)
        password["key"].check_text(secret_key_problem)
