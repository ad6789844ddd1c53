"""What an object may do with the name it wants, said to its author."""

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.plan.policies import Consent, Ownership, consent, ownership
from pg_operator.plan.state import Claimant, DatabaseState, RoleState
from pg_operator.reconcilers.context import Context, claimant_of
from pg_operator.reconcilers.outcome import Key, Object, is_deleting
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reach import terminating
from pg_operator.reconcilers.servers import Link


def judge_name(
    context: Context,
    key: Key,
    cluster: Object,
    observed: DatabaseState | RoleState,
    *,
    link: Link,
    adopt: bool | None,
) -> Ownership:
    """Tell whose a name is that an object wants on a DatabaseCluster, and may have.

    Raises:
        Blocked: it is not this object's to write, or the DatabaseCluster is going.
    """
    kind = "database" if isinstance(observed, DatabaseState) else "role"
    agreed = consent(
        DatabaseClusterSpec.parse(cluster["spec"]).adoption,
        kind=key.kind,
        namespace=key.namespace,
        name=observed.name,
        adopt=adopt is True,
    )
    claimant, where = claimant_of(context, key), cluster["metadata"]["name"]
    found = context.foresight.rivals(link.server, observed, claimant)
    owned = ownership_of(context, link, found, claimant, consent=agreed)
    _check_ownership(owned, what=f"{kind} '{observed.name}'", cluster=where)
    if owned is Ownership.ABSENT and is_deleting(cluster):
        raise terminating(where, what=f"{kind}s")
    return owned


def ownership_of(
    context: Context,
    link: Link,
    observed: DatabaseState | RoleState,
    claimant: Claimant,
    *,
    consent: Consent = Consent.NONE,
) -> Ownership:
    """Tell whose an observed database or role is, as seen from one object."""
    is_database = isinstance(observed, DatabaseState)
    return ownership(
        observed,
        claimant=claimant,
        login=link.server.login,
        is_living=context.is_living,
        protected=(link.dsn.dbname if is_database else link.dsn.user,),
        consent=consent,
    )


def _check_ownership(owned: Ownership, *, what: str, cluster: str) -> None:
    """Let pass what is absent or this object's own; `what` is like "database 'x'".

    Another object's name is never told: tenants do not see each other.

    Raises:
        Blocked: the name is not this object's to write, and why.
    """
    if owned.may_write:
        return
    place = f"{what} on DatabaseCluster '{cluster}'"
    match owned:
        case Ownership.UNMANAGED:
            reason = Reason.ALREADY_EXISTS
            message = (
                f"{place} exists without a mark of pg-operator: it was made by "
                "somebody else, or its comment was changed. It is left as it is. "
                "Choose another name, or ask the cluster's administrator to list it "
                "in spec.adoption, and set `adopt: true`"
            )
        case Ownership.ABANDONED:
            reason = Reason.ALREADY_EXISTS
            message = (
                f"{place} was kept when another object was deleted; it is left as it "
                "is. Choose another name, or set `adopt: true` if this namespace left "
                "it or the cluster's spec.adoption lists it"
            )
        case Ownership.UNVERIFIED:
            reason = Reason.UNVERIFIED
            message = (
                f"{place} carries a mark that no key of this operator opens; it is "
                "left as it is. Ask the cluster's administrator to restore Secret "
                "'pg-operator-keys', or choose another name"
            )
        case Ownership.PROTECTED:
            reason = Reason.NOT_ALLOWED
            message = f"{place} is reserved and never managed; choose another name"
        case _:
            reason = Reason.CONFLICT
            message = (
                f"{place} is already managed by another object; choose another name "
                "or ask the cluster's administrator"
            )
    raise Blocked(reason, message, terminal=True)
