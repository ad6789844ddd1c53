"""Whether anything that the run of a bed wrote shows a secret.

The audit log is the register: it has every Secret that anybody stored, and every
object, status and Event that the operator wrote, also those that are long gone.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import conninfo

from pg_operator.postgres import marks

AUDIT_LOG = "audit.log"
# What a Secret holds that may be seen: the rest of a connection Secret (Service
# Binding), certificates, and the id of the key that marks are made with.
OPEN_KEYS = frozenset(
    {"type", "provider", "host", "port", "username", "database", "sslmode"}
    | {"ca.crt", "tls.crt", "next.crt", "current"}
)
# Shorter ones stand in any text.
SHORTEST = 8
# What PostgreSQL keeps of a password.
VERIFIER = re.compile(r"SCRAM-SHA-256\$\d+:|\bmd5[0-9a-f]{32}\b")
# A literal that every object has on the server; only the server may log it.
MARK = re.compile(rf"{re.escape(marks.PREFIX)} \w+ \S+ \S+")
SERVERS_LOG = "postgres.log"


def find_spills(logs: Path, *, pages: Mapping[str, str]) -> list[str]:
    """Say where secrets stand in the logs of a run, or in further texts by name.

    A finding names the place and the Secret, and repeats nothing.
    """
    needles = secret_texts(logs / AUDIT_LOG)
    return [
        f"{where} shows {what}"
        for where, text in (*_logged(logs), *pages.items())
        for what in sorted(_shown(where, text, needles))
    ]


def secret_texts(audit_log: Path) -> dict[str, str]:
    """Return what must not be seen, in every form of it, and which Secret has it."""
    needles: dict[str, str] = {}
    for event in _events(audit_log):
        reference = event.get("objectRef", {})
        stored = event.get("responseObject", {})
        data = stored.get("data")
        if reference.get("resource") != "secrets" or not data:
            continue
        # Not by the reference, which does not know a name that was generated.
        metadata = stored["metadata"]
        for key in data.keys() - OPEN_KEYS:
            what = f"{key} of Secret {metadata['namespace']}/{metadata['name']}"
            value = base64.b64decode(data[key])
            for text in (value.decode(errors="ignore"), *_inside(value)):
                needles |= dict.fromkeys(_forms(text), what)
    return needles


def _inside(value: bytes) -> Iterator[str]:
    """Give the password in a DSN."""
    try:
        fields = conninfo.conninfo_to_dict(value.decode().strip())
    except (psycopg.Error, UnicodeDecodeError):
        return
    yield str(fields.get("password", ""))


def _forms(text: str) -> Iterator[str]:
    """Give a text as it may be written; of several lines the longest stands for it."""
    line = max(text.splitlines(), key=len, default="")
    if len(line) >= SHORTEST:
        yield from (line, json.dumps(line)[1:-1], repr(line)[1:-1], quote(line))
        yield base64.b64encode(text.encode()).decode()


def _logged(logs: Path) -> Iterator[tuple[str, str]]:
    for log in sorted(logs.rglob("*.log")):
        if log.name != AUDIT_LOG:
            yield str(log), log.read_text(encoding="utf-8", errors="replace")
    yield str(logs / AUDIT_LOG), "\n".join(map(_but_secrets, _events(logs / AUDIT_LOG)))


def _but_secrets(event: Mapping[str, Any]) -> str:
    bodies = {"requestObject", "responseObject"}
    of_secret = event.get("objectRef", {}).get("resource") == "secrets"
    seen = {k: v for k, v in event.items() if not (of_secret and k in bodies)}
    return json.dumps(seen, ensure_ascii=False)


def _events(audit_log: Path) -> Iterator[dict[str, Any]]:
    with audit_log.open(encoding="utf-8") as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)


def _shown(where: str, text: str, needles: Mapping[str, str]) -> set[str]:
    shown = {what for needle, what in needles.items() if needle in text}
    if VERIFIER.search(text):
        shown.add("a verifier")
    if Path(where).name != SERVERS_LOG and MARK.search(text):
        shown.add("a mark")
    return shown
