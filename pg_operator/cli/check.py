"""`pg-operator check`: is the installation whole? Every problem says what to do."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import click

from pg_operator.api.specs import API_VERSION, FINALIZER, PLURALS
from pg_operator.cli.asking import ask
from pg_operator.cli.certs import verify_certificates
from pg_operator.cli.deployments import read_deployments
from pg_operator.cli.needed_rights import CONTROLLER, needed_rights
from pg_operator.cli.options import Names, namespace
from pg_operator.cli.report import Finding, report
from pg_operator.kube.client import Kubernetes, object_path
from pg_operator.kube.errors import Forbidden, KubernetesError, NotFound
from pg_operator.kube.rights import Right, account_name, has_right

# Where the probe, which is never stored, would lie.
PROBE_NAMESPACE: Final = "default"


@click.command()
@namespace
@click.option(
    "--namespaces",
    type=Names(),
    default="",
    help="What the controller's --namespaces says, if no Deployment does.",
)
@click.option(
    "--own-rights",
    is_flag=True,
    help="Ask about the rights of whoever runs this instead of the controller's.",
)
def check(*, namespace: str, namespaces: frozenset[str], own_rights: bool) -> None:
    """Check CRDs, pods, certificates, the webhook, servers and rights."""
    report(
        ask(lambda kubernetes: _check(kubernetes, namespace, namespaces, own_rights))
    )


async def _check(
    kubernetes: Kubernetes,
    namespace: str,
    namespaces: frozenset[str],
    own_rights: bool,  # noqa: FBT001 (a flag of the command)
) -> list[Finding]:
    deployments = await read_deployments(kubernetes, namespace)
    crds = [finding async for finding in _crds(kubernetes)]
    findings = [*crds, *_deployments(deployments, namespace)]
    findings += await verify_certificates(kubernetes, namespace)
    if not any(finding.problem for finding in crds):
        findings.append(await _admission(kubernetes))
        findings += await _servers(kubernetes)
    if own_rights:
        needed = needed_rights([], namespace=namespace, namespaces=namespaces)
        return [*findings, await _rights(kubernetes, needed[CONTROLLER], None)]
    needed = needed_rights(deployments, namespace=namespace, namespaces=namespaces)
    for name, rights in needed.items():
        account = account_name(namespace, name)
        findings.append(await _rights(kubernetes, rights, account))
    return findings


async def _crds(kubernetes: Kubernetes) -> AsyncIterator[Finding]:
    for kind in PLURALS:
        try:
            await kubernetes.request("GET", object_path(kind, ""), query={"limit": "1"})
        except NotFound:
            yield Finding(f"CRD of {kind}", "is not served; apply config/crd")
        else:
            yield Finding(f"CRD of {kind}")


def _deployments(found: Sequence[Mapping[str, Any]], namespace: str) -> list[Finding]:
    if not found:
        problem = f"there is none in {namespace}; apply config/default"
        return [Finding("Deployments", problem)]
    findings = []
    for one in found:
        wanted = one["spec"].get("replicas", 1)
        ready = one["status"].get("readyReplicas", 0)
        name = one["metadata"]["name"]
        problem = "" if ready >= wanted else "see the events and the log of its pods"
        if not wanted:
            problem = "it is scaled to nothing; scale it up"
        findings.append(Finding(f"Deployment {name} {ready}/{wanted}", problem))
    return findings


async def _admission(kubernetes: Kubernetes) -> Finding:
    """Send what a user would send, as a dry run; an answer shows the whole way."""
    subject = "admission"
    probe = {
        "apiVersion": API_VERSION,
        "kind": "DatabaseRole",
        "metadata": {"generateName": "pg-operator-check-"},
        "spec": {
            "roleName": "pgop_check",
            "databaseClusterRef": {"name": "pg-operator-check"},
        },
    }
    path = object_path("DatabaseRole", PROBE_NAMESPACE)
    try:
        answer = await kubernetes.request(
            "POST", path, query={"dryRun": "All"}, body=probe
        )
    except KubernetesError as error:
        return Finding(subject, f"a good object is refused: {error}")
    if FINALIZER not in answer["metadata"].get("finalizers", ()):
        return Finding(
            subject,
            "the mutating webhook was not called or did not answer; see caBundle, the "
            "Service's endpoints, and whether a firewall lets the API server reach "
            "port 9443 of the pods",
        )
    return Finding(subject, note="answered by the webhook")


async def _servers(kubernetes: Kubernetes) -> list[Finding]:
    """Repeat what the controller found; it alone can reach the servers."""
    clusters, _ = await kubernetes.list(object_path("DatabaseCluster", ""))
    findings = []
    for cluster in clusters:
        conditions = {
            condition["type"]: condition
            for condition in cluster.get("status", {}).get("conditions", ())
        }
        available = conditions.get("Available", {})
        problem = "the controller has not looked at it yet; is it running?"
        if available.get("status") == "True":
            problem = ""
        elif available:
            problem = f"{available['reason']}: {available['message']}"
        name = cluster["metadata"]["name"]
        version = cluster.get("status", {}).get("server", {}).get("version", "")
        note = f"PostgreSQL {version}" if version else ""
        findings.append(Finding(f"DatabaseCluster {name}", problem, note))
    return findings


async def _rights(
    kubernetes: Kubernetes, rights: list[Right], account: str | None
) -> Finding:
    """Compare what an account may do with what config/ gives it."""
    subject = f"rights of {account or 'who runs this'}"
    missing = []
    for right in rights:
        try:
            if not await has_right(kubernetes, right, account=account):
                missing.append(str(right))
        except Forbidden:
            return Finding(
                subject,
                "you may not ask about others (create subjectaccessreviews); run this "
                "with --own-rights as that account",
            )
    if missing:
        return Finding(
            subject, f"apply the manifests again; missing: {', '.join(missing)}"
        )
    return Finding(subject)
