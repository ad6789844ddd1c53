"""What a database is made from, and where: only what its tenant may copy or use."""

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseSpec
from pg_operator.api.validation.database import TEMPLATES
from pg_operator.plan.policies import is_managed_by
from pg_operator.postgres.observe_databases import observe_database
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reach import databases_named
from pg_operator.reconcilers.servers import Link


async def check_creation(
    context: Context,
    key: Key,
    spec: DatabaseSpec,
    cluster: DatabaseClusterSpec,
    *,
    link: Link,
) -> None:
    """Hold a database that is to be created to what its tenant may name for that.

    Raises:
        Blocked: the tablespace is not listed, or the template not the namespace's own.
    """
    if spec.tablespace not in {None, *cluster.allowed_tablespaces}:
        raise Blocked(
            Reason.NOT_ALLOWED,
            f"spec.tablespace: '{spec.tablespace}' is not one that DatabaseCluster "
            f"'{spec.database_cluster_ref.name}' lists in spec.allowedTablespaces; "
            "remove it, or ask for it to be listed",
        )
    if spec.template is not None and spec.template not in TEMPLATES:
        await _check_template(context, key, spec, spec.template, link=link)


async def _check_template(
    context: Context, key: Key, spec: DatabaseSpec, template: str, *, link: Link
) -> None:
    cluster = spec.database_cluster_ref.name
    candidates = [
        candidate
        for candidate, _ in databases_named(context.objects, cluster, template)
        if candidate.namespace == key.namespace
    ]
    if not candidates:
        raise Blocked(
            Reason.NOT_ALLOWED,
            f"spec.template: '{template}' is no Database of this namespace on "
            f"DatabaseCluster '{cluster}', nor one of {' and '.join(TEMPLATES)}; it is "
            "copied as soon as it is",
        )
    async with link.connections.session() as connection:
        state = await observe_database(connection, template, keyring=context.keyring)
    state = context.foresight.database(link.server, state)
    claimants = (context.claimant(candidate) for candidate in candidates)
    # Who asks for a name may be another than who has it: the mark tells.
    if not is_managed_by(state, (one for one in claimants if one is not None)):
        raise Blocked(
            Reason.DATABASE_NOT_READY,
            f"spec.template: database '{template}' is not made yet by its Database; it "
            "is copied as soon as it is",
        )
