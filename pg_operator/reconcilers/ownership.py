"""What an object may do with the name it wants, said to its author."""

from pg_operator.api.conditions import Reason
from pg_operator.plan.policies import Ownership
from pg_operator.reconcilers.progress import Blocked


def check_ownership(ownership: Ownership, *, what: str, cluster: str) -> None:
    """Let pass what is absent or this object's own; `what` is like "database 'x'".

    Another object's name is never told: tenants do not see each other.

    Raises:
        Blocked: the name is not this object's to write, and why.
    """
    if ownership.may_write:
        return
    place = f"{what} on DatabaseCluster '{cluster}'"
    match ownership:
        case Ownership.UNMANAGED:
            reason = Reason.ALREADY_EXISTS
            message = (
                f"{place} exists without a mark of pg-operator: it was made by "
                "somebody else, or its comment was changed. It is left as it is. "
                "Choose another name, or ask the cluster's administrator"
            )
        case Ownership.ABANDONED:
            reason = Reason.ALREADY_EXISTS
            message = (
                f"{place} was kept when another object was deleted; it is left as it "
                "is. Choose another name, or ask the cluster's administrator"
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
