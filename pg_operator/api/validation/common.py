"""Checks of fields that several kinds have. Pure."""

from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import LARGEST_INTEGER, Field, Rule
from pg_operator.api.names import (
    cluster_name_problem,
    label_problem,
    role_reference_problem,
)
from pg_operator.api.validation.selectors import check_selector

MOST_NAMESPACES: Final = 256


def check_cluster_reference(reference: Field) -> None:
    """Require the name of a DatabaseCluster."""
    reference.require("must name the DatabaseCluster that this belongs to")
    if reference.has_type("object"):
        name = reference["name"].require("must be the name of a DatabaseCluster")
        name.check_text(cluster_name_problem)


def check_connection_limit(limit: Field) -> None:
    """Require a limit as CREATE DATABASE and CREATE ROLE take it."""
    limit.check_integer(
        -1,
        LARGEST_INTEGER,
        detail=f"must be -1 (no limit) or a number up to {LARGEST_INTEGER}",
    )


def check_allowed_namespaces(allowed: Field, *, choices: tuple[str, ...]) -> None:
    """Require one of the choices, and what belongs to it and nothing else."""
    if not allowed.has_type("object"):
        return
    source = allowed["from"].require("must say which namespaces are meant")
    source.check_choice(*choices)
    names, selector = allowed["names"], allowed["selector"]
    if source.value in choices:
        need = "must list the namespaces when `from` is 'Names'"
        _check_part(names, source, of="Names", need=need)
        need = "must select the namespaces when `from` is 'Selector'"
        _check_part(selector, source, of="Selector", need=need)
    check_names(names, most=MOST_NAMESPACES, problem=label_problem)
    check_selector(selector)


def _check_part(part: Field, source: Field, *, of: str, need: str) -> None:
    """Require what belongs to one choice of `from` there, and refuse it elsewhere."""
    if source.value == of:
        part.require(need)
    elif part.is_present:
        detail = f"may only be set when `from` is '{of}'"
        part.refuse(Problem("names-unused", detail, "FieldValueForbidden"))


def check_role_names(names: Field, *, most: int) -> None:
    """Check a list of roles that are referred to by their names in PostgreSQL."""
    check_names(names, most=most, problem=role_reference_problem)


def check_names(names: Field, *, most: int, problem: Rule) -> None:
    """Apply a rule to every name of a list, in which each stands once."""
    seen: set[str] = set()
    for name in names.entries(most=most):
        name.check_text(problem)
        if isinstance(name.value, str):
            if name.value in seen:
                detail = "must be listed once"
                name.refuse(Problem("duplicate", detail, "FieldValueDuplicate"))
            seen.add(name.value)


def forbid_change(new: Field, old: Field, *, advice: str) -> None:
    """Report a value that differs from the stored one, unless either is missing."""
    if new.is_present and old.is_present and new.value != old.value:
        detail = f"may not be changed; {advice}"
        new.refuse(Problem("immutable", detail, "FieldValueForbidden"))
