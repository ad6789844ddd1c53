"""Rules for names, and the nearest valid one for a name that breaks them. Pure.

Names that we create in PostgreSQL are plain on purpose (no quoting surprises, bytes =
characters); names that a spec refers to are whatever exists there. Kubernetes' own
rules are those of k8s.io/apimachinery/pkg/util/validation.
"""

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pg_operator.api.errors import Problem

CreatedKind = Literal["database", "role", "schema"]

LONGEST_NAME: Final = 63  # bytes: NAMEDATALEN - 1
LONGEST_SUBDOMAIN: Final = 253
LONGEST_LABEL: Final = 63
LONGEST_SIGNATURE: Final = 512
CREATED_PATTERN: Final = r"^[a-z_][a-z0-9_$-]{0,62}$"
CREATED_RULE: Final = (
    "must be 1-63 characters of 'a-z', '0-9', '_', '$' and '-', "
    "and start with a letter or '_'"
)
SYSTEM_PREFIX: Final = "pg_"
INFORMATION_SCHEMA: Final = "information_schema"
NAMESPACE_PLACEHOLDER: Final = "{namespace}"

# Names that a server, a cloud or pg_hba.conf gives a meaning of their own.
RESERVED: Final[Mapping[CreatedKind, frozenset[str]]] = MappingProxyType(
    {
        "database": frozenset(
            {
                "all",
                "azure_maintenance",
                "azure_sys",
                "cloudsqladmin",
                "postgres",
                "rdsadmin",
                "replication",
                "samerole",
                "sameuser",
                "template0",
                "template1",
            }
        ),
        "role": frozenset(
            {
                "all",
                "cloudsqladmin",
                "current_role",
                "current_user",
                "none",
                "postgres",
                "public",
                "rdsadmin",
                "session_user",
                "user",
            }
        ),
        "schema": frozenset({INFORMATION_SCHEMA}),
    }
)
# What PostgreSQL's grammar takes for a keyword where a role is expected, even quoted.
KEYWORD_ROLES: Final = frozenset({"none", "public"})
RESERVED_SERVICES: Final = frozenset({"kubernetes"})
_SYSTEM_KINDS: Final = frozenset({"role", "schema"})

_SUBDOMAIN_RULE: Final = (
    "1-253 characters of 'a-z', '0-9', '-' and '.', "
    "starting and ending with a letter or digit"
)

_CREATED = re.compile(CREATED_PATTERN.removesuffix("$") + r"\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
)
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_SIGNATURE = re.compile(r'([^\s"().,;*]+|"([^"]|"")+") *\([^();]*\)\Z')
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_PREFIX = re.compile(r"([a-z_]|\{namespace\})([a-z0-9_$-]|\{namespace\})*\Z")


def created_name_problem(kind: CreatedKind, name: str) -> Problem | None:
    """Return what forbids a database, role or schema of this name to be created."""
    if not _CREATED.match(name):
        return _problem("name-pattern", CREATED_RULE, nearest_name(kind, name))
    if kind in _SYSTEM_KINDS and name.startswith(SYSTEM_PREFIX):
        detail = f"must not start with '{SYSTEM_PREFIX}', which PostgreSQL reserves"
        return _problem("name-reserved", detail, nearest_name(kind, name))
    if name in RESERVED[kind]:
        detail = f"must not be a reserved {kind} name; choose another name"
        return _problem("name-reserved", detail, None)
    return None


def referred_name_problem(name: str) -> Problem | None:
    """Return why nothing in PostgreSQL can have this name; case and spaces are kept."""
    length = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= length <= LONGEST_NAME:
        return Problem("name-length", f"must be 1-{LONGEST_NAME} bytes, not {length}")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
        return Problem("name-characters", "must not contain control characters")
    return None


def role_reference_problem(name: str) -> Problem | None:
    """Return why a role of this name cannot be referred to."""
    if name in KEYWORD_ROLES:
        detail = f"must be the name of a role; '{name}' stands for something else"
        return Problem("name-reserved", detail)
    return referred_name_problem(name)


def signature_problem(signature: str) -> Problem | None:
    """Return why no function, procedure or aggregate has this signature.

    Whether there is such a function, and such types, only the server knows.
    """
    if len(signature) > LONGEST_SIGNATURE:
        detail = f"must be at most {LONGEST_SIGNATURE} characters"
        return Problem("signature", detail)
    has_control = any(unicodedata.category(char) in {"Cc", "Cs"} for char in signature)
    if _SIGNATURE.match(signature) and not has_control:
        return None
    detail = "must be a name and the types of its arguments, as SQL writes them"
    # Without parentheses, or with the schema, which is named above it.
    tries = (f"{signature}()", re.sub(r"\A[^().\"]+\.", "", signature))
    near = next((text for text in tries if _SIGNATURE.match(text)), None)
    example = "add(integer, app.money)" if near is None or has_control else near
    return Problem("signature", f"{detail}; try '{example}'")


def tablespace_problem(name: str) -> Problem | None:
    """Return why no database can be in a tablespace of this name."""
    if name == "pg_global":
        detail = "must not be 'pg_global', which holds what all databases share"
        return Problem("name-reserved", detail)
    return referred_name_problem(name)


def is_system_schema(name: str) -> bool:
    """Tell whether PostgreSQL itself owns the schema of this name."""
    return name.startswith(SYSTEM_PREFIX) or name == INFORMATION_SCHEMA


def nearest_name(kind: CreatedKind, name: str) -> str | None:
    """Return the valid name nearest to what was written; None when there is none."""
    # Folding may lengthen a text many times over, so a long one is cut first.
    folded = unicodedata.normalize("NFKD", name[:256].strip().casefold())
    near = re.sub(r"[^a-z0-9_$-]+", "_", folded.encode("ascii", "ignore").decode())
    if kind in _SYSTEM_KINDS:
        while near.startswith(SYSTEM_PREFIX):
            near = near.removeprefix(SYSTEM_PREFIX)
    if not re.match(r"[a-z_]", near):
        near = f"_{near}"
    near = near[:LONGEST_NAME]
    says_something = near.strip("_") != ""
    return near if says_something and not created_name_problem(kind, near) else None


def service_name_problem(name: str) -> Problem | None:
    """Return what forbids a Service of this name (DNS-1035 label)."""
    if name in RESERVED_SERVICES:
        detail = f"must not be '{name}', the API server's own Service"
        return Problem("service-reserved", f"{detail}; choose another name")
    if _SERVICE.match(name):
        return None
    detail = (
        "must be 1-63 characters of 'a-z', '0-9' and '-', start with a letter "
        "and not end with '-'"
    )
    return _problem("service-name", detail, nearest_service_name(name))


def nearest_service_name(name: str) -> str | None:
    """Return the valid Service name nearest to what was written, if there is one."""
    near = re.sub(r"[^a-z0-9]+", "-", name[:256].lower()).strip("-")
    near = re.sub(r"^(?=[0-9])", "db-", near)[:LONGEST_LABEL].strip("-")
    return near if _SERVICE.match(near) and near not in RESERVED_SERVICES else None


def label_problem(name: str) -> Problem | None:
    """Return why no namespace has this name (DNS label)."""
    if _LABEL.match(name):
        return None
    detail = (
        "must be the name of a namespace: 1-63 characters of 'a-z', '0-9' and '-', "
        "starting and ending with a letter or digit"
    )
    return Problem("namespace-name", detail)


def cluster_name_problem(name: str) -> Problem | None:
    """Return why no DatabaseCluster has this metadata.name (DNS subdomain)."""
    if is_subdomain(name):
        return None
    detail = f"must be the metadata.name of a DatabaseCluster: {_SUBDOMAIN_RULE}"
    near = re.sub(r"[^a-z0-9.]+", "-", name[:256].lower()).strip("-.")
    return _problem("cluster-name", detail, near if is_subdomain(near) else None)


def secret_name_problem(name: str) -> Problem | None:
    """Return why no Secret has this name (DNS subdomain)."""
    if is_subdomain(name):
        return None
    # Who writes something else here often writes what the Secret should hold.
    detail = f"must be the name of a Secret, not what it holds: {_SUBDOMAIN_RULE}"
    return Problem("secret-name", detail)


def secret_key_problem(key: str) -> Problem | None:
    """Return why no Secret has this key."""
    if _SECRET_KEY.match(key) and key not in {".", ".."}:
        return None
    detail = "must be the key of a Secret: 1-253 letters, digits, '-', '_' and '.'"
    return Problem("secret-key", detail)


def name_prefix_problem(prefix: str) -> Problem | None:
    """Return why no valid name begins with this prefix."""
    # One character must be left for the name, and a namespace has at least one.
    shortest = prefix.replace(NAMESPACE_PLACEHOLDER, "n")
    if not _PREFIX.match(prefix) or len(shortest) >= LONGEST_NAME:
        detail = (
            "must be the beginning of a name: up to 62 characters of 'a-z', '0-9', "
            f"'_', '$' and '-' (not starting with a digit, '$' or '-'), in which "
            f"'{NAMESPACE_PLACEHOLDER}' stands for the object's namespace"
        )
        return Problem("name-prefix", detail)
    if prefix.startswith(SYSTEM_PREFIX):
        detail = f"must not start with '{SYSTEM_PREFIX}', which PostgreSQL reserves"
        return Problem("name-prefix", detail)
    return None


def expand_prefix(prefix: str, *, namespace: str) -> str:
    """Return what names of objects in a namespace must start with."""
    return prefix.replace(NAMESPACE_PLACEHOLDER, namespace)


def is_subdomain(name: str) -> bool:
    """Tell whether a name is a DNS subdomain (RFC 1123)."""
    return len(name) <= LONGEST_SUBDOMAIN and _SUBDOMAIN.match(name) is not None


def _problem(rule: str, detail: str, suggestion: str | None) -> Problem:
    return Problem(rule, f"{detail}; try '{suggestion}'" if suggestion else detail)
