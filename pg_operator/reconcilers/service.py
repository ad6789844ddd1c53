"""The Service of a Database, which all those of its namespace may share."""

from pg_operator.api.specs import DatabaseSpec
from pg_operator.kube.services import (
    Endpoint,
    ServiceOwner,
    ServiceStatus,
    apply_service,
    remove_service,
)
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key, Object
from pg_operator.reconcilers.servers import Link


async def reconcile_service(
    context: Context, key: Key, database: Object, spec: DatabaseSpec, link: Link
) -> ServiceStatus | None:
    """Make the Service true, and remove one that left the spec."""
    wanted, had = spec.database_service_name, database.get("status", {}).get("service")
    if had and had != wanted:
        await remove_service(
            context.kubernetes,
            namespace=key.namespace,
            name=had,
            owners=_owners(context, key, spec, had),
            cluster=spec.database_cluster_ref.name,
        )
    if wanted is None:
        return None
    owners = _owners(context, key, spec, wanted)
    if not owners:
        # Deleted meanwhile: a Service that is nobody's would never be collected.
        return None
    port, *others = set(link.dsn.ports)
    if others:
        return ServiceStatus(
            ready=False,
            reason="ServiceUnsupported",
            message="spec.databaseServiceName: the DSN's hosts listen on different "
            "ports, and a Service has one for all; connect to the hosts directly",
        )
    return await apply_service(
        context.kubernetes,
        namespace=key.namespace,
        name=wanted,
        endpoint=Endpoint(link.dsn.hosts, port),
        owners=owners,
        cluster=spec.database_cluster_ref.name,
    )


def _owners(
    context: Context, key: Key, spec: DatabaseSpec, service: str
) -> list[ServiceOwner]:
    """Return the living Databases of namespace and cluster that declare a Service."""
    cluster = spec.database_cluster_ref.name
    owners = [
        ServiceOwner(database["metadata"]["name"], database["metadata"]["uid"])
        for database in context.objects.sharing(key.namespace, service)
        if database["spec"]["databaseClusterRef"]["name"] == cluster
    ]
    return sorted(owners, key=lambda owner: owner.name)
