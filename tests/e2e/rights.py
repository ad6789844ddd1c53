"""Which of the rights that config/ gives were used, from the audit log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tests.localcluster.audit import Request
from tests.localcluster.manifests import OPERATOR_NAMESPACE

ACCOUNTS = f"system:serviceaccount:{OPERATOR_NAMESPACE}:"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource that a Role or ClusterRole gives."""

    role: str
    verb: str
    resource: str
    group: str
    name: str = ""

    def serves(self, request: Request) -> bool:
        """Say whether this right is enough for a request."""
        resource = request.resource
        if request.subresource:
            resource += f"/{request.subresource}"
        if (self.resource, self.group) != (resource, request.group):
            return False
        if self.name not in {"", request.name}:
            return False
        # Server-side apply is a patch, and a create too where there was nothing.
        made = request.verb == "patch" and request.code == HTTPStatus.CREATED
        return self.verb == request.verb or (self.verb == "create" and made)


def granted(documents: Iterable[Mapping[str, Any]]) -> dict[Right, set[str]]:
    """Return the rights that manifests give, and to whom."""
    roles, bindings = {}, []
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind in {"Role", "ClusterRole"}:
            roles[kind, name] = document.get("rules") or []
        elif kind in {"RoleBinding", "ClusterRoleBinding"}:
            bindings.append(document)
    found: dict[Right, set[str]] = {}
    for binding in bindings:
        reference = binding["roleRef"]
        rules = roles[reference["kind"], reference["name"]]
        users = {account_of(subject) for subject in binding["subjects"]}
        for right in rights_of(reference["name"], rules):
            found.setdefault(right, set()).update(users)
    return found


def account_of(subject: Mapping[str, Any]) -> str:
    """Return the name in the audit log of the account that a binding is for."""
    return f"system:serviceaccount:{subject['namespace']}:{subject['name']}"


def rights_of(role: str, rules: Iterable[Mapping[str, Any]]) -> list[Right]:
    """Return each single right that the rules of a role give."""
    return [
        Right(role=role, verb=verb, resource=resource, group=group, name=name)
        for rule in rules
        for verb in rule["verbs"]
        for resource in rule.get("resources", [])
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames", [""])
    ]


def unused(
    rights: Mapping[Right, set[str]], requests: Iterable[Request]
) -> list[Right]:
    """Return the rights that no request of those who have them needed."""
    everybody = set().union(*rights.values())
    asked = [request for request in requests if request.user in everybody]
    return sorted(
        right
        for right, users in rights.items()
        if not any(one.user in users and right.serves(one) for one in asked)
    )


def refused(requests: Iterable[Request]) -> list[Request]:
    """Return the operator's requests that its roles did not allow."""
    return [
        request
        for request in requests
        if request.user.startswith(ACCOUNTS) and not request.authorized
    ]
