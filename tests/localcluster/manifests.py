"""Documents the bed writes or rewrites: identities, kubeconfigs, audit, webhooks."""

import base64
import copy
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OPERATOR_NAMESPACE = "pg-operator-system"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the API server, known by a token."""

    user: str
    groups: tuple[str, ...]
    token: str = field(repr=False)

    @classmethod
    def administrator(cls, user: str) -> "Identity":
        """Return a user that may do everything."""
        return cls(user, ("system:masters",), secrets.token_urlsafe(32))

    @classmethod
    def service_account(cls, name: str) -> "Identity":
        """Return an account of the operator's namespace, as a pod would use it."""
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{OPERATOR_NAMESPACE}",
            "system:authenticated",
        )
        user = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{name}"
        return cls(user, groups, secrets.token_urlsafe(32))


def token_file(identities: Iterable[Identity]) -> str:
    """Return the API server's --token-auth-file: token, user, uid, groups."""
    return "".join(
        f'{one.token},"{one.user}","{one.user}","{",".join(one.groups)}"\n'
        for one in identities
    )


def kubeconfig(
    identity: Identity, *, server: str, ca_pem: bytes, namespace: str
) -> str:
    """Return a kubeconfig of one user with `namespace` as the default."""
    ca = base64.b64encode(ca_pem).decode()
    name = "pg-operator-bed"
    cluster = {"server": server, "certificate-authority-data": ca}
    context = {"cluster": name, "user": identity.user, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": identity.user, "user": {"token": identity.token}}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return json.dumps(document, indent=2)


def audit_policy() -> str:
    """Return a policy that records who asked for what, once, when it is answered.

    Of Secrets and of all that the operator writes it records the content too, for
    spills.py: what leads nowhere but into the bed's own log.
    """
    writes = ["create", "update", "patch"]
    operator = f"system:serviceaccounts:{OPERATOR_NAMESPACE}"
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [
            {"level": "None", "nonResourceURLs": ["*"]},
            {
                "level": "Metadata",
                "resources": [{"group": "coordination.k8s.io"}],
            },
            {
                "level": "RequestResponse",
                "verbs": writes,
                "resources": [{"group": "", "resources": ["secrets"]}],
            },
            {"level": "Request", "verbs": writes, "userGroups": [operator]},
            {"level": "Metadata"},
        ],
    }
    return json.dumps(document, indent=2)


def webhooks_by_url(
    configurations: Iterable[Mapping[str, Any]], *, base_url: str, ca_pem: bytes
) -> list[dict[str, Any]]:
    """Return webhook configurations that call `base_url` instead of a Service."""
    ca = base64.b64encode(ca_pem).decode()
    rewritten = []
    for configuration in configurations:
        document = copy.deepcopy(dict(configuration))
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": base_url + path, "caBundle": ca}
        rewritten.append(document)
    return rewritten
