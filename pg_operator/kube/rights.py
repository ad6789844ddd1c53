"""What an account may do, asked of the API server."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.paths import AUTHORIZATION_API

REVIEWS: Final = f"/apis/{AUTHORIZATION_API}/subjectaccessreviews"
SELF_REVIEWS: Final = f"/apis/{AUTHORIZATION_API}/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, of one namespace or (empty) of all, maybe of one name."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Say it as `kubectl auth can-i` would take it."""
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f"/{self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{named}{where}"


def rights_of(role: Mapping[str, Any], *, namespaces: Iterable[str]) -> Iterator[Right]:
    """Yield what a Role or ClusterRole gives where it is bound; "" is everywhere."""
    for namespace in namespaces:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames") or ("",):
                        for verb in rule["verbs"]:
                            yield Right(verb, group, resource, namespace, name)


async def has_right(
    kubernetes: Kubernetes, right: Right, *, account: str | None
) -> bool:
    """Ask whether a user has a right; None asks about ourselves.

    Raises:
        Forbidden: we may not ask about others.
        KubernetesError: there is no answer.
    """
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    if account is not None:
        spec |= {"user": account, "groups": _groups_of(account)}
    kind = "SubjectAccessReview" if account else "SelfSubjectAccessReview"
    answer = await kubernetes.request(
        "POST",
        REVIEWS if account else SELF_REVIEWS,
        body={"apiVersion": AUTHORIZATION_API, "kind": kind, "spec": spec},
    )
    return bool(answer["status"].get("allowed"))


def account_name(namespace: str, name: str) -> str:
    """Return the user that a ServiceAccount is."""
    return f"system:serviceaccount:{namespace}:{name}"


def _groups_of(account: str) -> list[str]:
    namespace = account.split(":")[2]
    return [
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    ]
