"""The Secret with the keys that seal marks and passwords' fingerprints."""

import contextlib
from typing import Final

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import Conflict
from pg_operator.postgres.marks import Keyring

KEYS_SECRET: Final = "pg-operator-keys"  # noqa: S105 (a name)


async def load_keyring(kubernetes: Kubernetes, namespace: str) -> Keyring:
    """Return the operator's keys, made at its first start and never again.

    Raises:
        ValueError: the Secret is there and is not a keyring.
    """
    secret = await kubernetes.read_secret(namespace, KEYS_SECRET)
    if secret is None:
        # When another replica's first start was quicker, its keys are the ones.
        with contextlib.suppress(Conflict):
            await kubernetes.create_secret(namespace, KEYS_SECRET, Keyring.generate())
        secret = await kubernetes.read_secret(namespace, KEYS_SECRET)
    if secret is None:
        raise ValueError(f"Secret {namespace}/{KEYS_SECRET} vanished while being made")
    return Keyring.from_secret(secret.data)
