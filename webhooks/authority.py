"""Certificates without cert-manager: an authority in a Secret, leaves in memory.

Every replica looks at the Secret and the webhook configurations every few seconds, by
itself: whoever comes first writes, guarded by the resourceVersion, and the others take
what is there.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from certs.authority import (
    LEAF_LIFETIME,
    Authority,
    AuthorityError,
    advance,
    is_renewal_due,
)
from certs.issue import KeyPair, issue_leaf
from certs.serving import Handover, describe
from pg_operator.kube.admission import (
    CONFIGURATIONS,
    ca_bundles,
    publish_bundle,
    read_configurations,
)
from pg_operator.kube.client import MANAGED_BY, Kubernetes
from pg_operator.kube.errors import Conflict, KubernetesError, NotFound
from pg_operator.kube.secrets import SecretData

logger = logging.getLogger(__name__)

AUTHORITY_SECRET: Final = "pg-operator-webhook-ca"  # noqa: S105 (a name)
SERVICE: Final = "pg-operator-webhook"
# Until the API server trusts us, nothing can be created or changed.
UNSETTLED_SECONDS: Final = 2.0
SETTLED_SECONDS: Final = 15.0
MOST_CONFLICTS: Final = 10

Json = dict[str, Any]


class ForeignSecret(Exception):
    """A Secret has our name and is not ours; says what to do."""


def service_names(namespace: str) -> tuple[str, ...]:
    """Return the names that the API server calls the webhook's Service by."""
    host = f"{SERVICE}.{namespace}.svc"
    return host, f"{host}.cluster.local"


@dataclass(frozen=True, slots=True)
class StoredAuthority:
    """The authority, and the Secret that it was read from."""

    authority: Authority
    secret: Json


async def load_authority(
    kubernetes: Kubernetes, namespace: str
) -> StoredAuthority | None:
    """Return the stored authority, or None when there is no Secret.

    Raises:
        ForeignSecret: the Secret is not the operator's, or holds no authority.
        KubernetesError: it cannot be read.
    """
    secret = await kubernetes.read_core("secrets", namespace, AUTHORITY_SECRET)
    if secret is None:
        return None
    labels = secret["metadata"].get("labels") or {}
    where = f"Secret {namespace}/{AUTHORITY_SECRET}"
    if not MANAGED_BY.items() <= labels.items():
        raise ForeignSecret(
            f"{where} was not made by pg-operator (label "
            "app.kubernetes.io/managed-by=pg-operator is missing) and is left alone; "
            "rename it"
        )
    try:
        authority = Authority.from_data(SecretData.of(secret).data)
    except AuthorityError as error:
        raise ForeignSecret(
            f"{where} holds no usable authority: {error}; delete it to have a new one "
            "made"
        ) from error
    return StoredAuthority(authority, secret)


async def store_authority(
    kubernetes: Kubernetes,
    namespace: str,
    authority: Authority,
    *,
    over: StoredAuthority | None,
) -> None:
    """Store an authority over what was read.

    Raises:
        Conflict: somebody else stored one meanwhile.
        NotFound: the Secret was deleted meanwhile.
        KubernetesError: it cannot be stored.
    """
    data = authority.to_data()
    if over is None:
        await kubernetes.create_secret(namespace, AUTHORITY_SECRET, data)
    else:
        await kubernetes.update_secret(over.secret, data)


def is_trusted(configurations: Sequence[Json], bundle: bytes) -> bool:
    """Tell whether both configurations are there and trust exactly this bundle."""
    trusted = {found for one in configurations for found in ca_bundles(one).values()}
    return len(configurations) == len(CONFIGURATIONS) and trusted == {bundle}


class OwnCertificate:
    """A serving certificate signed by the authority in the Secret; see `Certificate`.

    `now` is the wall clock, so that a machine that slept renews when it wakes.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        *,
        namespace: str,
        hosts: Sequence[str],
        addresses: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._hosts = hosts
        self._addresses = addresses
        self._now = now
        self._handover = Handover()
        self._authority: Authority | None = None
        self._leaf: KeyPair | None = None
        self._issuer = b""

    @property
    def context(self) -> ssl.SSLContext:
        """The context to listen with."""
        return self._handover.context

    @property
    def not_after(self) -> datetime | None:
        """When what is served now expires."""
        return self._handover.not_after

    async def watch(self, *, interval: float = UNSETTLED_SECONDS) -> None:
        """Keep everything as it should be until cancelled.

        It looks every `interval` seconds until the API server trusts what is served,
        and more rarely then. Raises nothing: what fails is logged and tried again.
        """
        while True:
            settled = False
            try:
                settled = await self.step()
            except (KubernetesError, ForeignSecret) as error:
                logger.warning("Cannot look after the certificates: %s", error)
            await asyncio.sleep(max(interval, SETTLED_SECONDS) if settled else interval)

    async def step(self) -> bool:
        """Do what is due; return whether the API server trusts what is served.

        Raises:
            ForeignSecret: the Secret's name is taken.
            KubernetesError: the API server refuses, or does not answer.
        """
        configurations = await read_configurations(self._kubernetes)
        authority = await self._bring_forward(configurations)
        settled = len(configurations) == len(CONFIGURATIONS)
        for one in configurations:
            settled &= await self._publish(one, authority.bundle)
        self._serve_leaf_of(authority)
        return settled

    async def _publish(self, configuration: Json, bundle: bytes) -> bool:
        """Bring caBundle of a configuration up to date; return whether it is."""
        if set(ca_bundles(configuration).values()) == {bundle}:
            return True
        try:
            await publish_bundle(self._kubernetes, configuration, bundle)
        except Conflict:
            # Most likely another replica wrote the same.
            return False
        logger.info("Wrote caBundle of %s", configuration["kind"])
        return True

    async def _bring_forward(self, configurations: Sequence[Json]) -> Authority:
        """Return the stored authority, after storing what it should be by now."""
        for _ in range(MOST_CONFLICTS):
            stored = await load_authority(self._kubernetes, self._namespace)
            # A Secret that was deleted comes back as it was.
            known = self._authority if stored is None else stored.authority
            published = known is not None and is_trusted(configurations, known.bundle)
            wanted = advance(known, now=self._now(), published=published)
            try:
                if stored is None or wanted != stored.authority:
                    await store_authority(
                        self._kubernetes, self._namespace, wanted, over=stored
                    )
                    logger.info("Stored the authority in %s", AUTHORITY_SECRET)
            except (Conflict, NotFound):
                continue
            self._authority = wanted
            return wanted
        raise Conflict(f"Secret {AUTHORITY_SECRET} changes all the time")

    def _serve_leaf_of(self, authority: Authority) -> None:
        """Serve a leaf that the current authority signed and that is young enough."""
        leaf, issuer = self._leaf, authority.current.certificate_pem
        if (
            leaf is not None
            and self._issuer == issuer
            and not is_renewal_due(leaf, now=self._now())
        ):
            return
        self._leaf = issue_leaf(
            authority.current,
            dns_names=self._hosts,
            ip_addresses=self._addresses,
            now=self._now(),
            lifetime=LEAF_LIFETIME,
        )
        self._issuer = issuer
        logger.info("Serves: %s", describe(self._handover.serve_pair(self._leaf)))
