"""How Kopf finds the API server: as `kube/` does, or they might be two."""

import asyncio
from typing import Any, Final

import aiohttp
import kopf

WATCH_SECONDS: Final = 1.0


def login(
    *, settings: kopf.OperatorSettings, **_: object
) -> kopf.ConnectionInfo | None:
    """Use $KUBECONFIG, else ~/.kube/config, else the pod's account; None without."""
    by_file = kopf.login_with_kubeconfig(settings=settings)
    return by_file or kopf.login_with_service_account(settings=settings)


class WatchLogin:
    """Logs Kopf in for its watches, each of which begins once a second at most.

    Kopf begins one anew without a pause when it was cut, or ended, as soon as it began.
    """

    def __init__(self) -> None:
        self._pace = _Pace()
        self._tried: kopf.ConnectionInfo | None = None

    async def log_in(
        self, *, settings: kopf.OperatorSettings, **_: object
    ) -> kopf.AiohttpSession | None:
        """Do as `login` does; return None also for credentials that were refused.

        Kopf asks again only then, and would take any session for a new chance.
        """
        info = await asyncio.to_thread(login, settings=settings)
        if info is None or info == self._tried:
            return None
        self._tried = info
        tracing = aiohttp.TraceConfig()
        tracing.on_request_start.append(self._pace)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
            trace_configs=[tracing],
        )
        return kopf.AiohttpSession(
            server=info.server,
            priority=info.priority,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
            aiohttp_session=session,
        )


class _Pace:
    """Keeps the watches of one collection apart."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def __call__(
        self,
        _session: aiohttp.ClientSession,
        _context: Any,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        """Hold a watch back that comes too soon after the last one."""
        if "watch" not in request.url.query:
            return
        path = request.url.path
        now = asyncio.get_running_loop().time()
        begins = max(now, self._next.get(path, now))
        self._next[path] = begins + WATCH_SECONDS
        await asyncio.sleep(begins - now)
