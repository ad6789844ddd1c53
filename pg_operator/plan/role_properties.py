"""A role's attributes and parameters: as a spec wants them, and how to get there. Pure.

Only what a mark records as given is taken away again, so what was set by hand stays.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.plan.operations import SetRoleAttribute, SetRoleParameter
from pg_operator.plan.parameters import judge_parameters
from pg_operator.plan.state import (
    NO_PARAMETERS,
    Mark,
    Pending,
    RoleParameter,
    RoleParameters,
    RoleState,
)


@dataclass(frozen=True, slots=True)
class DesiredProperties:
    """What a role shall have, what to record of it, and what it may not or cannot."""

    attributes: frozenset[str] = frozenset()
    parameters: RoleParameters = field(default_factory=lambda: NO_PARAMETERS)
    parameter_scope: frozenset[RoleParameter] = frozenset()
    pending: tuple[Pending, ...] = ()


NO_PROPERTIES: Final = DesiredProperties()


def desired_properties(
    attributes: Iterable[str],
    parameters: RoleParameters,
    *,
    allowed_attributes: Collection[str],
    allowed_parameters: Collection[str],
    contexts: Mapping[str, str],
    kept: Collection[RoleParameter] = (),
) -> DesiredProperties:
    """Return what a role may have of what its spec declares.

    Args:
        attributes: Those that the spec lists.
        parameters: Those that the spec sets, in all databases and in one.
        allowed_attributes: Those that the DatabaseCluster lists.
        allowed_parameters: Those that the DatabaseCluster lists.
        contexts: `context` of the parameters in pg_settings.
        kept: Parameters that cannot be judged now, and are left as they are.

    """
    pending = [
        Pending(
            f"spec.attributes[{attribute}]",
            Reason.NOT_ALLOWED,
            f"attribute {attribute} is not allowed here; ask the administrator of the "
            "DatabaseCluster to add it to spec.allowedRoleAttributes",
        )
        for attribute in attributes
        if attribute not in allowed_attributes
    ]
    wanted: dict[RoleParameter, str] = {}
    for database in sorted({parameter.database for parameter in parameters}):
        judged = judge_parameters(
            {
                one.name: parameters[one]
                for one in parameters
                if one.database == database
            },
            contexts=contexts,
            allowed=allowed_parameters,
            path=RoleParameter("", database).list_path,
        )
        pending += judged.pending
        for name, value in judged.usable.items():
            wanted[RoleParameter(name, database)] = value
    return DesiredProperties(
        frozenset(attributes) & frozenset(allowed_attributes),
        wanted,
        frozenset(wanted) | frozenset(kept),
        tuple(pending),
    )


def diff_properties(
    desired: RoleState, observed: RoleState, mark: Mark, recorded: Mark | None
) -> tuple[SetRoleAttribute | SetRoleParameter, ...]:
    """Return what gives a role its attributes and parameters, and takes what left."""
    return (
        *_attributes(desired, observed, mark, recorded),
        *_parameters(desired, observed, mark, recorded),
    )


def _attributes(
    desired: RoleState, observed: RoleState, mark: Mark, recorded: Mark | None
) -> Iterator[SetRoleAttribute]:
    given = recorded.attributes if recorded else frozenset()
    for attribute in sorted((given - mark.attributes) & observed.attributes):
        yield SetRoleAttribute(desired.name, attribute, on=False)
    for attribute in sorted(desired.attributes - observed.attributes):
        yield SetRoleAttribute(desired.name, attribute, on=True)


def _parameters(
    desired: RoleState, observed: RoleState, mark: Mark, recorded: Mark | None
) -> Iterator[SetRoleParameter]:
    given = recorded.role_parameters if recorded else frozenset()
    held: Mapping[RoleParameter, str] = observed.parameters
    for parameter in sorted((given - mark.role_parameters) & held.keys()):
        yield SetRoleParameter(desired.name, parameter, None)
    for parameter, value in sorted(desired.parameters.items()):
        if held.get(parameter) != value:
            yield SetRoleParameter(desired.name, parameter, value)
