"""The webhook process: Kopf with admission handlers and nothing else."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Final

import kopf
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity

from certs.serving import Certificate
from pg_operator.kube.client import Kubernetes
from pg_operator.runtime.jitter import spread
from pg_operator.runtime.login import login
from pg_operator.runtime.memories import NoMemories
from webhooks.handlers import register
from webhooks.index import Index
from webhooks.metrics import WebhookMetrics
from webhooks.server import WebhookServer

DRAIN_SECONDS: Final = 4.0
_REVIEW_REPORTS: Final = "Webhook '"


class UnknownAPIServerError(Exception):
    """Nothing says where the API server is; the text says what would."""


async def serve(
    *,
    host: str,
    port: int,
    certificate: Certificate,
    metrics: WebhookMetrics,
    drain_seconds: float = DRAIN_SECONDS,
    stop: threading.Event | None = None,
) -> None:
    """Serve admission until `stop` is set, then drain.

    In the main thread SIGTERM and SIGINT stop it, too.

    The API server is found by $KUBECONFIG, else by ~/.kube/config, else by the pod's
    service account. Raises UnknownAPIServerError when there is none of them, and
    OSError when the address cannot be bound or the API server does not answer for
    about a minute.
    """
    logging.getLogger("kopf.objects").addFilter(is_no_review)
    settings = _settings()
    if login(settings=settings) is None:
        raise UnknownAPIServerError(
            "set KUBECONFIG to a file, or run in a pod with a service account"
        )
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    index = Index()
    metrics.watch_index(lambda: index.is_known)
    routes = register(registry, claims=index.judge)
    server = WebhookServer(
        host=host,
        port=port,
        certificate=certificate,
        routes=routes,
        metrics=metrics,
        drain_seconds=drain_seconds,
    )
    insights = Insights()

    async def serve_known_resources(
        fn: kopf.WebhookFn,
    ) -> AsyncIterator[kopf.WebhookClientConfig]:
        # Kopf serves what it discovered once, at its start. The CRDs may be applied
        # later, and a review is proof enough that its resource exists.
        insights.webhook_resources.update(routes.values())
        async for config in server(fn):
            yield config

    settings.admission.server = serve_known_resources
    async with await Kubernetes.from_environment() as kubernetes:
        # Older than Kopf, hence not cancelled by it.
        following = asyncio.create_task(index.follow(kubernetes, jitter=spread))
        try:
            await kopf.operator(
                registry=registry,
                settings=settings,
                insights=insights,
                stop_flag=stop,
                memories=NoMemories(),
                # Kopf would ask for the user's name, and not every uid has one.
                identity=Identity("pg-operator-webhook"),
                standalone=True,
                clusterwide=True,
            )
        finally:
            following.cancel()
            await asyncio.wait({following})


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.admission.managed = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    return settings


def is_no_review(record: logging.LogRecord) -> bool:
    """Tell whether a line is anything but Kopf's report of a review.

    It reports a refused one as an error, with its whole text. What matters is logged
    by the handlers.
    """
    return not record.getMessage().startswith(_REVIEW_REPORTS)
