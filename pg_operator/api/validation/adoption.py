"""The rules for what may be taken over on a DatabaseCluster. Pure."""

import re
from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import label_problem, referred_name_problem

MOST_ADOPTABLE: Final = 256
MOST_OWNER_IDS: Final = 16
LONGEST_OWNER_ID: Final = 63
_IDENTIFIER: Final = re.compile(r"[0-9]{1,20}\Z")
POLICIES: Final = ("Never", "Released", "Listed")
LISTED: Final = "Listed"


def check_adoption(adoption: Field) -> None:
    """Check who may take over what."""
    if not adoption.has_type("object"):
        return
    policy = adoption["policy"].require("must say what may be taken over")
    policy.check_choice(*POLICIES)
    for listed in (adoption["databases"], adoption["roles"]):
        if listed.is_present and policy.value in POLICIES and policy.value != LISTED:
            detail = "may only be set when `policy` is 'Listed'"
            listed.refuse(Problem("list-unused", detail, "FieldValueForbidden"))
        for entry in listed.entries(most=MOST_ADOPTABLE, list_key="name"):
            name = entry["name"].require("must be a name in PostgreSQL")
            name.check_text(referred_name_problem)
            namespace = entry["namespace"].require("must be the namespace that may")
            namespace.check_text(label_problem)


def owner_id_problem(text: str) -> Problem | None:
    """Return why no operator has this id."""
    if 1 <= len(text) <= LONGEST_OWNER_ID and text.isprintable():
        return None
    detail = f"must be the id of an operator: 1-{LONGEST_OWNER_ID} printable characters"
    return Problem("owner-id", detail)


def system_identifier_problem(text: str) -> Problem | None:
    """Return why no server has this system identifier (a 64-bit number)."""
    if _IDENTIFIER.match(text):
        return None
    detail = "must be the number that status.server.systemIdentifier shows"
    return Problem("system-identifier", detail)
