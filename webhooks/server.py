"""The HTTPS server behind the webhook configurations, as Kopf's webhook server.

Kopf's own server allows what comes to an unknown path, stops at 1 MiB, has nothing for
a readiness probe, and restarts its listener for a new certificate.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import kopf
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from certs.serving import Certificate
from webhooks.handlers import INTERNAL_ERROR
from webhooks.metrics import WebhookMetrics
from webhooks.refusals import collect_errors
from webhooks.review import MalformedReviewError, Review

logger = logging.getLogger(__name__)

# An UPDATE carries two objects of at most 3 MiB, the API server's own limit, and the
# envelope around them.
BODY_LIMIT: Final = 8 * 1024 * 1024

# The API server says how long it waits; an answer after that is lost, and with it the
# reason. The default is the shortest wait in our webhook configurations.
DEFAULT_TIMEOUT: Final = 3.0
TIMEOUT_SHARE: Final = 0.9

DEADLINE_EXCEEDED: Final = (
    "the object could not be checked in time because pg-operator is overloaded; "
    "try again"
)

# Whoever closes an idle connection risks that the other side is just sending on it.
# The API server closes its own after 90 s, so ours stay open longer.
KEEPALIVE_SECONDS: Final = 300.0


class WebhookServer:
    """Serve admission reviews over TLS until cancelled, then drain.

    `routes` are the handler ids, which are the URL paths, with the resource that each
    one judges. An async generator function as Kopf wants it: yields its URL once.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        certificate: Certificate,
        routes: Mapping[str, kopf.Resource],
        metrics: WebhookMetrics,
        drain_seconds: float,
        reload_interval: float = 2.0,
    ) -> None:
        self._host = host
        self._port = port
        self._certificate = certificate
        self._routes = routes
        self._metrics = metrics
        metrics.watch_expiry(lambda: certificate.not_after)
        self._drain_seconds = drain_seconds
        self._reload_interval = reload_interval
        self._draining = False
        self._overdue: set[asyncio.Task[Any]] = set()

    async def __call__(
        self, fn: kopf.WebhookFn
    ) -> AsyncIterator[kopf.WebhookClientConfig]:
        """Serve reviews with `fn`; raises OSError when the address cannot be bound."""

        async def review(request: web.Request) -> web.Response:
            return await self._serve(fn, request)

        application = web.Application(client_max_size=BODY_LIMIT)
        application.add_routes(
            [
                web.get("/livez", _livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                web.post("/{webhook}", review),
            ]
        )
        application.on_response_prepare.append(self._close_when_draining)
        runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=DEFAULT_TIMEOUT,
        )
        await runner.setup()
        try:
            await web.TCPSite(
                runner,
                self._host,
                self._port,
                ssl_context=self._certificate.context,
                backlog=1024,
            ).start()
            host, port = runner.addresses[0][:2]
            logger.info("Serves webhooks on %s:%d", host, port)
            try:
                yield {"url": f"https://{host}:{port}"}
                await self._certificate.watch(interval=self._reload_interval)
            finally:
                await self._drain()
        finally:
            await runner.cleanup()

    async def _drain(self) -> None:
        """Keep answering while API servers learn that this replica is leaving."""
        logger.info("Drains for %.1f seconds", self._drain_seconds)
        self._draining = True
        await asyncio.sleep(self._drain_seconds)

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._draining:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "draining")
        expiry = self._certificate.not_after
        if expiry is None or expiry <= datetime.now(UTC):
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the certificate has expired")
        return _text(HTTPStatus.OK, "ok")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        page = generate_latest(self._metrics.registry)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _close_when_draining(
        self, _: web.Request, response: web.StreamResponse
    ) -> None:
        if self._draining:
            response.headers["Connection"] = "close"

    async def _serve(self, fn: kopf.WebhookFn, request: web.Request) -> web.Response:
        """Take one request; everything that is no proper review gets a plain error.

        To the API server that is a failed webhook, and its failurePolicy decides.
        """
        webhook = request.match_info["webhook"]
        resource = self._routes.get(webhook)
        if resource is None:
            return _refused(HTTPStatus.NOT_FOUND, f"no webhook at /{webhook}")
        with self._metrics.answering(webhook):
            answer = await self._answer(fn, request, webhook=webhook, resource=resource)
        self._metrics.answered(webhook, answer.status)
        return answer

    async def _answer(
        self,
        fn: kopf.WebhookFn,
        request: web.Request,
        *,
        webhook: str,
        resource: kopf.Resource,
    ) -> web.Response:
        """Answer what came to one of the webhooks."""
        if request.content_type != "application/json":
            return _refused(HTTPStatus.BAD_REQUEST, "the body must be application/json")
        expires = asyncio.get_running_loop().time() + budget(
            request.query.get("timeout")
        )
        try:
            async with asyncio.timeout_at(expires):
                body = await request.read()
            review = Review.parse(body)
        except TimeoutError:
            return _refused(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly")
        except MalformedReviewError as error:
            return _refused(HTTPStatus.BAD_REQUEST, str(error))
        if not review.concerns(tuple(resource)):
            # Kopf would find no handler for it, and allow.
            return _refused(
                HTTPStatus.NOT_FOUND,
                f"/{webhook} judges CREATE and UPDATE of {resource!r} only; "
                "correct the webhook configuration",
            )
        answer = await self._judge(fn, review, webhook=webhook, expires=expires)
        return web.json_response(answer)

    async def _judge(
        self, fn: kopf.WebhookFn, review: Review, *, webhook: str, expires: float
    ) -> Mapping[str, Any]:
        """Ask Kopf; add what its answer lacks; deny, with a fixed text, if it fails."""
        errors = collect_errors()
        task = asyncio.ensure_future(fn(review.document, webhook=webhook))
        remaining = expires - asyncio.get_running_loop().time()
        # Not wait_for: that would wait for a thread that cannot be cancelled.
        done, _ = await asyncio.wait({task}, timeout=remaining)
        if not done:
            logger.error("Webhook /%s exceeded its deadline", webhook)
            self._abandon(task)
            return review.denial(DEADLINE_EXCEEDED, code=HTTPStatus.GATEWAY_TIMEOUT)
        failure = task.exception()
        if failure is not None:
            logger.error("Webhook /%s failed", webhook, exc_info=failure)
            return review.denial(INTERNAL_ERROR, code=HTTPStatus.INTERNAL_SERVER_ERROR)
        answer: Mapping[str, Any] = task.result()
        self._metrics.refused(webhook, (error.rule for error in errors))
        return review.with_causes(answer, errors) if errors else answer

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Let an overdue review end by itself; nobody will look at its result."""

        def forget(ended: asyncio.Task[Any]) -> None:
            self._overdue.discard(ended)
            if not ended.cancelled():
                ended.exception()

        self._overdue.add(task)
        task.add_done_callback(forget)
        task.cancel()


async def _livez(_: web.Request) -> web.Response:
    """Answer, which is all that a process that hangs cannot do."""
    return _text(HTTPStatus.OK, "ok")


def budget(timeout: str | None) -> float:
    """Return the seconds to answer in, from the `5s` that the API server sends."""
    match = re.fullmatch(r"(\d{1,2})s", timeout or "")
    return TIMEOUT_SHARE * (float(match[1]) if match else DEFAULT_TIMEOUT)


def _refused(status: HTTPStatus, text: str) -> web.Response:
    logger.warning("Refused a request with status %d: %s", status, text)
    return _text(status, text)


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
