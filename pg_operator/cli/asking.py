"""A command that asks the API server, and says in a sentence what goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import KubernetesError
from webhooks.authority import ForeignSecret

T = TypeVar("T")


def ask(question: Callable[[Kubernetes], Awaitable[T]]) -> T:
    """Run one question to the API server.

    Raises:
        click.ClickException: there is no answer.
    """

    async def asked() -> T:
        async with await Kubernetes.from_environment() as kubernetes:
            return await question(kubernetes)

    try:
        return asyncio.run(asked())
    except (KubernetesError, ForeignSecret) as error:
        raise click.ClickException(str(error)) from error
