"""What an API server's refusal means to us.

KubernetesError
├── NotConfigured        nothing says where the API server is
├── Unreachable          no answer, or a broken one
├── NotLeading           not sent: another process may write by now
├── TooManyRequests      it asks us to slow down (429)
├── NotFound             (404)
├── Conflict             it exists, or changed since it was read (409)
├── Expired              what we ask about is too long ago (410)
├── Invalid              the object is refused (400, 422 and the like)
└── Forbidden            our ServiceAccount may not (401, 403)
    └── NamespaceTerminating
"""

import json
from collections.abc import Mapping
from typing import Any, Final


class KubernetesError(Exception):
    """A request to the API server did not do what it was for."""


class NotConfigured(KubernetesError):
    """Nothing says where the API server is, or who we are."""


class Unreachable(KubernetesError):
    """The API server did not answer, or not as one."""


class NotLeading(KubernetesError):
    """A write was not sent, because another process may lead by now."""


class TooManyRequests(KubernetesError):
    """The API server asks us to slow down, for `retry_after` seconds if it says so."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(KubernetesError):
    """The object does not exist."""


class Conflict(KubernetesError):
    """The object exists already, or has changed since it was read."""


class Expired(KubernetesError):
    """The API server remembers nothing of so long ago; only a new list helps."""


class Invalid(KubernetesError):
    """The API server refuses the object as it is.

    `fields` are the paths it objects to, without their values.
    """

    def __init__(self, message: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class Forbidden(KubernetesError):
    """The operator's ServiceAccount may not do this; the text says what."""


class NamespaceTerminating(Forbidden):
    """Nothing can be created in a namespace that is being deleted."""


_BY_STATUS: Final[Mapping[int, type[KubernetesError]]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
}


def translate(
    status: int, body: bytes, *, retry_after: str | None = None
) -> KubernetesError:
    """Make an error of an HTTP answer with a metav1.Status, and its Retry-After."""
    answer = _parse(body)
    message = str(answer.get("message", f"HTTP status {status}"))
    details = answer.get("details") or {}
    causes = [cause for cause in details.get("causes") or () if isinstance(cause, dict)]
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceTerminating(message)
    if status == 429:
        return TooManyRequests(message, retry_after=_seconds(retry_after))
    if known := _BY_STATUS.get(status):
        return known(message)
    if 400 <= status < 500:
        fields = (str(cause["field"]) for cause in causes if "field" in cause)
        return Invalid(message, fields=tuple(dict.fromkeys(fields)))
    return Unreachable(message)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """Read the header; API servers send seconds, never a date."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
