"""What an API server's refusal means to us.

KubernetesError
├── Unreachable          no answer, or a broken one
├── TooManyRequests      it asks us to slow down (429)
├── NotFound             (404)
├── Conflict             it exists, or changed since it was read (409)
├── Invalid              the object is refused (400, 422)
└── Forbidden            our ServiceAccount may not (401, 403)
    └── NamespaceTerminating
"""

import json
from typing import Any


class KubernetesError(Exception):
    """A request to the API server did not do what it was for."""


class Unreachable(KubernetesError):
    """The API server did not answer, or not as one."""


class TooManyRequests(KubernetesError):
    """The API server asks us to slow down."""


class NotFound(KubernetesError):
    """The object does not exist."""


class Conflict(KubernetesError):
    """The object exists already, or has changed since it was read."""


class Invalid(KubernetesError):
    """The API server refuses the object as it is."""


class Forbidden(KubernetesError):
    """The operator's ServiceAccount may not do this."""


class NamespaceTerminating(Forbidden):
    """Nothing can be created in a namespace that is being deleted."""


def translate(status: int, body: bytes) -> KubernetesError:
    """Make an error of an HTTP answer with a metav1.Status."""
    answer = _parse(body)
    message = str(answer.get("message", f"HTTP status {status}"))
    causes = (answer.get("details") or {}).get("causes") or []
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceTerminating(message)
    kinds: dict[int, type[KubernetesError]] = {
        400: Invalid,
        401: Forbidden,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        422: Invalid,
        429: TooManyRequests,
    }
    return kinds.get(status, Unreachable)(message)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
