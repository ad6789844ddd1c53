"""All that is checked in the documents of users, for webhook and guard alike. Pure.

All take whole raw objects, hold any JSON anywhere, and report all errors at once. What
`old` already had wrong, unchanged and at the same place, becomes a warning: a rule that
was tightened never blocks an unrelated change.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from pg_operator.api.errors import FieldError, Verdict, refusal
from pg_operator.api.fields import Field, Report
from pg_operator.api.specs import Kind
from pg_operator.api.validation.cluster import check_cluster
from pg_operator.api.validation.database import check_database, check_database_change
from pg_operator.api.validation.role import check_role, check_role_change

__all__ = [
    "VALIDATORS",
    "FieldError",
    "Validator",
    "Verdict",
    "refusal",
    "validate_database",
    "validate_databasecluster",
    "validate_databaserole",
]

# The API server shows 4096 characters of them in all.
MOST_WARNINGS: Final = 40

Check = Callable[[Field], None]
CheckChange = Callable[[Field, Field], None]


class Validator(Protocol):
    """Judges a whole raw object; the signature of `validate_<kind>`."""

    def __call__(
        self, new: Mapping[str, Any], *, old: Mapping[str, Any] | None = None
    ) -> Verdict:
        """Return every error and warning; must not raise on any JSON."""


def validate_databasecluster(
    new: Mapping[str, Any], *, old: Mapping[str, Any] | None = None
) -> Verdict:
    """Validate a DatabaseCluster, as a change of `old` if there is one."""
    return _validate(new, old, check=check_cluster)


def validate_database(
    new: Mapping[str, Any], *, old: Mapping[str, Any] | None = None
) -> Verdict:
    """Validate a Database, as a change of `old` if there is one."""
    return _validate(new, old, check=check_database, check_change=check_database_change)


def validate_databaserole(
    new: Mapping[str, Any], *, old: Mapping[str, Any] | None = None
) -> Verdict:
    """Validate a DatabaseRole, as a change of `old` if there is one."""
    return _validate(new, old, check=check_role, check_change=check_role_change)


VALIDATORS: Final[Mapping[Kind, Validator]] = {
    "DatabaseCluster": validate_databasecluster,
    "Database": validate_database,
    "DatabaseRole": validate_databaserole,
}


def _validate(
    new: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    *,
    check: Check,
    check_change: CheckChange | None = None,
) -> Verdict:
    report = _report(new, check)
    if old is None:
        return Verdict(
            tuple(finding.error for finding in report.findings),
            tuple(report.warnings[:MOST_WARNINGS]),
        )
    before = _report(old, check)
    known = {finding.identity for finding in before.findings}
    errors = [f.error for f in report.findings if f.identity not in known]
    stale = [str(f.error) for f in report.findings if f.identity in known]
    warnings = [text for text in report.warnings if text not in before.warnings]
    if check_change is not None:
        changes = Report()
        check_change(_spec(new, changes), _spec(old, Report()))
        errors += [finding.error for finding in changes.findings]
    return Verdict(tuple(errors), (*stale, *warnings)[:MOST_WARNINGS])


def _report(document: Mapping[str, Any], check: Check) -> Report:
    report = Report()
    spec = _spec(document, report).require("must say what is wanted")
    if spec.has_type("object"):
        check(spec)
    return report


def _spec(document: Mapping[str, Any], report: Report) -> Field:
    return Field(dict(document), path="", key="", report=report)["spec"]
