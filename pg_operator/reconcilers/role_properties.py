"""Which attributes and parameters a role may have, as things are now."""

from collections.abc import Collection, Sequence

from pg_operator.api.conditions import Reason
from pg_operator.api.guard import Held
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseRoleSpec
from pg_operator.plan.role_properties import DesiredProperties, desired_properties
from pg_operator.plan.state import Mark, Pending, RoleParameter, RoleState
from pg_operator.postgres.observe_parameters import observe_parameter_contexts
from pg_operator.reconcilers.servers import Link


async def resolve_properties(
    spec: DatabaseRoleSpec,
    *,
    cluster: DatabaseClusterSpec,
    link: Link,
    observed: RoleState,
    pending: Sequence[Pending],
    faulty: Sequence[Held] = (),
) -> DesiredProperties:
    """Judge what a spec declares by the lists of its DatabaseCluster and the server.

    `pending` is what the permissions wait for: in a database that cannot be worked on
    now, parameters are left as they are, and in one that is not open they go.
    """
    waiting = {part.path: part.reason for part in pending}
    parameters = {RoleParameter(name): value for name, value in spec.parameters.items()}
    unsure = {part.database for part in faulty if part.database is not None}
    for permission in spec.permissions:
        database = permission.database
        reason = waiting.get(f"spec.permissions[{database}]")
        if reason == Reason.NOT_ALLOWED:
            continue
        if reason is not None:
            unsure.add(database)
            continue
        for name, value in permission.parameters.items():
            parameters[RoleParameter(name, database)] = value
    broken = {
        RoleParameter(part.path_keys[1])
        for part in faulty
        if part.path_keys[0] == "parameters"
    }
    mark = observed.mark
    recorded = mark.role_parameters if isinstance(mark, Mark) else frozenset()
    return desired_properties(
        spec.attributes,
        parameters,
        allowed_attributes=cluster.allowed_role_attributes,
        allowed_parameters=cluster.allowed_parameters,
        contexts=await _contexts(link, parameters),
        kept=[one for one in recorded if one.database in unsure or one in broken],
    )


async def _contexts(
    link: Link, parameters: Collection[RoleParameter]
) -> dict[str, str]:
    names = {parameter.name for parameter in parameters}
    if not names:
        return {}
    async with link.connections.session() as connection:
        return await observe_parameter_contexts(connection, names)
