"""`pg-operator certs`: look at the webhook's certificates, and rotate the authority."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from cryptography import x509

from certs.authority import PUBLISHED_FOR, advance
from certs.issue import KeyPair
from certs.verify import (
    bundle_problem,
    describe_certificates,
    overdue_problem,
    pair_problem,
)
from pg_operator.cli.asking import ask
from pg_operator.cli.deployments import SELF_SIGNED, arguments_of, read_deployments
from pg_operator.cli.options import Address, namespace
from pg_operator.cli.report import Finding, report
from pg_operator.kube.admission import (
    CONFIGURATIONS,
    ca_bundles,
    read_configurations,
)
from pg_operator.kube.client import Kubernetes
from webhooks.authority import (
    AUTHORITY_SECRET,
    ForeignSecret,
    StoredAuthority,
    is_trusted,
    load_authority,
    service_names,
    store_authority,
)

# What config/certmanager has cert-manager make.
MOUNTED_SECRET: Final = "pg-operator-webhook-certificate"  # noqa: S105 (a name)
CONNECT_SECONDS: Final = 5.0


@click.group()
def certs() -> None:
    """Look at the webhook's certificates, and rotate the authority of our own."""


@certs.command()
@namespace
def show(*, namespace: str) -> None:
    """Show what the API server trusts, and what signs and serves."""
    for line in ask(lambda kubernetes: _shown(kubernetes, namespace)):
        click.echo(line)


@certs.command()
@namespace
@click.option(
    "--connect",
    type=Address(),
    help="Also shake hands with the webhook there, such as localhost:9443 of "
    "`kubectl port-forward`.",
)
def verify(*, namespace: str, connect: tuple[str, int] | None) -> None:
    """Tell whether the API server can trust what the webhook serves."""
    report(ask(lambda kubernetes: verify_certificates(kubernetes, namespace, connect)))


@certs.command()
@namespace
def rotate(*, namespace: str) -> None:
    """Begin to replace the authority of `--certs=self`.

    The replicas go on by themselves: the new one is trusted first, and signs minutes
    later; the old one is trusted for another day.
    """
    click.echo(ask(lambda kubernetes: _rotated(kubernetes, namespace)))


async def verify_certificates(
    kubernetes: Kubernetes, namespace: str, connect: tuple[str, int] | None = None
) -> list[Finding]:
    """Judge caBundle, the stored authority or pair, and a server if one is named.

    Raises:
        KubernetesError: the API server refuses, or does not answer.
    """
    now = datetime.now(UTC)
    configurations = await read_configurations(kubernetes)
    found = {one["kind"] for one in configurations}
    findings = [
        Finding(f"{kind} {name}", "does not exist; apply config/webhook")
        for kind, name in CONFIGURATIONS
        if kind not in found
    ]
    for one in configurations:
        for name, bundle in ca_bundles(one).items():
            problem = bundle_problem(bundle, now=now)
            findings.append(Finding(f"caBundle of {name}", problem))
    bundles = {bundle for one in configurations for bundle in ca_bundles(one).values()}
    findings += await _stored(kubernetes, namespace, configurations, bundles)
    if connect is not None:
        findings += [
            await _connected(connect, bundle, service_names(namespace)[0])
            for bundle in bundles
        ]
    return findings


async def _stored(
    kubernetes: Kubernetes,
    namespace: str,
    configurations: Sequence[dict[str, Any]],
    bundles: set[bytes],
) -> list[Finding]:
    """Judge the authority of our own, or else the pair that cert-manager made."""
    subject = f"Secret {namespace}/{AUTHORITY_SECRET}"
    try:
        stored = await _authority_in_use(kubernetes, namespace)
    except ForeignSecret as error:
        return [Finding(subject, str(error))]
    if stored is not None:
        trusted = is_trusted(configurations, stored.authority.bundle)
        wrong = "" if trusted else "is not what caBundle holds; is the webhook running?"
        signing = stored.authority.current.certificate_pem
        return [Finding(subject, wrong or _overdue(signing), note=_age(signing))]
    subject = f"Secret {namespace}/{MOUNTED_SECRET}"
    secret = await kubernetes.read_secret(namespace, MOUNTED_SECRET)
    if secret is None:
        return [Finding(subject, "does not exist; is cert-manager running?")]
    pair = KeyPair(secret.data.get("tls.crt", b""), secret.data.get("tls.key", b""))
    host = service_names(namespace)[0]
    problems = (pair_problem(pair, bundle=one, host=host) for one in bundles)
    wrong = next(filter(None, problems), "") or _overdue(pair.certificate_pem)
    return [Finding(subject, wrong, note=_age(pair.certificate_pem))]


async def _authority_in_use(
    kubernetes: Kubernetes, namespace: str
) -> StoredAuthority | None:
    """Return our own authority; None also for one that an earlier overlay left.

    Raises:
        ForeignSecret: there is somebody else's Secret in its place.
    """
    started = [
        arguments_of(one) for one in await read_deployments(kubernetes, namespace)
    ]
    if started and not any(SELF_SIGNED in arguments for arguments in started):
        return None
    return await load_authority(kubernetes, namespace)


def _age(certificate_pem: bytes) -> str:
    """Say how long a certificate is valid; empty when it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        return ""
    return f"valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _overdue(certificate_pem: bytes) -> str:
    """Say that nobody renewed a certificate in time; empty also when it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        return ""
    return overdue_problem(certificate, now=datetime.now(UTC))


async def _connected(address: tuple[str, int], bundle: bytes, host: str) -> Finding:
    """Shake hands with a server as the API server would."""
    subject = f"webhook at {address[0]}:{address[1]}"
    try:
        context = ssl.create_default_context(cadata=bundle.decode())
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(
                *address, ssl=context, server_hostname=host
            )
    except ssl.SSLCertVerificationError as error:
        return Finding(subject, f"is not accepted for {host}: {error.verify_message}")
    except (OSError, ValueError) as error:
        return Finding(subject, f"no handshake: {type(error).__name__}")
    writer.close()
    return Finding(subject)


async def _shown(kubernetes: Kubernetes, namespace: str) -> list[str]:
    lines: list[str] = []
    for one in await read_configurations(kubernetes):
        for name, bundle in ca_bundles(one).items():
            lines += _described(f"caBundle of {name}", bundle)
    stored = await load_authority(kubernetes, namespace)
    if stored is not None:
        authority = stored.authority
        where = f"Secret {namespace}/{AUTHORITY_SECRET}"
        lines += _described(f"{where}, signs", authority.current.certificate_pem)
        if authority.following is not None:
            coming = authority.following.certificate_pem
            lines += _described(f"{where}, will sign", coming)
        lines += _described(f"{where}, signed", b"".join(authority.retired))
    mounted = await kubernetes.read_secret(namespace, MOUNTED_SECRET)
    if mounted is not None:
        served = mounted.data.get("tls.crt", b"")
        lines += _described(f"Secret {namespace}/{MOUNTED_SECRET}, served", served)
    return lines


def _described(title: str, bundle: bytes) -> list[str]:
    if not bundle.strip():
        return [f"{title}: nothing"]
    try:
        return [f"{title}: {line}" for line in describe_certificates(bundle)]
    except ValueError:
        return [f"{title}: not PEM"]


async def _rotated(kubernetes: Kubernetes, namespace: str) -> str:
    stored = await _authority_in_use(kubernetes, namespace)
    if stored is None:
        raise click.ClickException(
            f"Secret {namespace}/{AUTHORITY_SECRET} is not there or not in use: the "
            "certificates are not the webhook's own; with cert-manager, `cmctl renew "
            "pg-operator-webhook` renews what is served"
        )
    if stored.authority.following is not None:
        return "A rotation is under way already."
    now = datetime.now(UTC)
    wanted = advance(stored.authority, now=now, published=False, rotate=True)
    await store_authority(kubernetes, namespace, wanted, over=stored)
    minutes = int(PUBLISHED_FOR.total_seconds() / 60)
    return (
        "The new authority is trusted within seconds and signs in about "
        f"{minutes} minutes; `pg-operator certs show` tells."
    )
