"""Laws of validation and guard that hold for every document there can be."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pg_operator.api.guard import guard
from pg_operator.api.specs import DatabaseClusterSpec, DatabaseRoleSpec, DatabaseSpec
from pg_operator.api.validation import (
    Verdict,
    validate_database,
    validate_databasecluster,
    validate_databaserole,
)
from tests.unit.documents import CLUSTER, DATABASE, ROLE, Document, changed

Validate = Callable[..., Verdict]
Parse = Callable[[Mapping[str, Any]], BaseModel]

KINDS = pytest.mark.parametrize(
    ("validate", "parse", "document"),
    [
        (validate_databasecluster, DatabaseClusterSpec.parse, CLUSTER),
        (validate_database, DatabaseSpec.parse, DATABASE),
        (validate_databaserole, DatabaseRoleSpec.parse, ROLE),
    ],
    ids=["DatabaseCluster", "Database", "DatabaseRole"],
)


@KINDS
def test_documents_start_valid(
    validate: Validate, parse: Parse, document: Document
) -> None:
    assert validate(document).errors == ()
    parse(document["spec"])


@KINDS
@given(data=st.data())
def test_what_the_guard_lets_through_is_valid_and_can_be_parsed(
    validate: Validate, parse: Parse, document: Document, data: st.DataObject
) -> None:
    spec = data.draw(changed(document)).get("spec")
    errors = validate({"spec": spec}).errors
    if not isinstance(spec, dict):
        assert errors
        return
    guarded = guard(spec, errors)
    reported = [*guarded.stalled, *(held.error for held in guarded.held)]
    assert sorted(map(repr, reported)) == sorted(map(repr, errors))
    if not guarded.stalled:
        assert validate({"spec": guarded.spec}).errors == ()
        parse(guarded.spec)


@KINDS
@given(data=st.data())
def test_any_change_gets_a_printable_verdict_and_no_change_is_refused(
    validate: Validate, parse: Parse, document: Document, data: st.DataObject
) -> None:
    old, new = data.draw(changed(document)), data.draw(changed(document))
    verdict = validate(new, old=old)
    for text in [*map(str, verdict.errors), *verdict.warnings]:
        assert text.isprintable()
    assert validate(new, old=new).errors == ()
