"""The API server as the node agent uses it: plain objects over plain HTTPS."""

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
Json = dict[str, Any]
Body = Mapping[str, Any] | Sequence[Json]


class ApiError(Exception):
    """The API server refused a request; `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        """Carry the status and what the API server said."""
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """Requests with one token; safe to use from many threads."""

    def __init__(self, address: str, *, ca: Path, token: str) -> None:
        """Ask the API server at `address` (HOST:PORT), which `ca` vouches for."""
        self._address = address
        self._token = token
        self._context = ssl.create_default_context(cafile=str(ca))

    def get(self, path: str) -> Json:
        """Return an object or a list. Raises ApiError, OSError."""
        return self.send("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Post an object to a collection. Raises ApiError, OSError."""
        return self.send("POST", path, body)

    def merge(self, path: str, body: Mapping[str, Any]) -> Json:
        """Merge into an object. Raises ApiError, OSError."""
        return self.send("PATCH", path, body, content_type=MERGE_PATCH)

    def patch(self, path: str, operations: Sequence[Json]) -> Json:
        """Do the operations of a JSON patch to an object. Raises ApiError, OSError."""
        return self.send("PATCH", path, operations, content_type=JSON_PATCH)

    def delete(self, path: str, options: Mapping[str, Any]) -> Json:
        """Delete an object. Raises ApiError, OSError."""
        return self.send("DELETE", path, options)

    def send(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        content_type: str = "application/json",
        timeout: float = 30,
    ) -> Json:
        """Send one request and return the answer. Raises ApiError, OSError."""
        with self._ask(method, path, body, content_type, timeout) as answer:
            found: Json = json.loads(answer.read())
            return found

    def watch(self, path: str, *, version: str) -> Iterator[tuple[str, Json]]:
        """Yield (type, object) of every change after `version`, for about a minute.

        Raises ApiError when the API server knows that version no more.
        """
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "60"}
        url = f"{path}?{urllib.parse.urlencode(query)}"
        with self._ask("GET", url, None, "", 90) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", 0), status.get("message", ""))
                yield event["type"], event["object"]

    def _ask(
        self,
        method: str,
        path: str,
        body: Body | None,
        content_type: str,
        timeout: float,
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(
            self._address, timeout=timeout, context=self._context
        )
        headers = {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = content_type
        text = None if body is None else json.dumps(body)
        # Each request has its own connection, which goes with its answer.
        headers["Connection"] = "close"
        connection.request(method, path, body=text, headers=headers)
        answer = connection.getresponse()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            said = answer.read().decode(errors="replace")
            connection.close()
            raise ApiError(answer.status, message_of(said))
        return answer


def message_of(said: str) -> str:
    """Return the message of a Status, or what was said when it is none."""
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said[:500]
