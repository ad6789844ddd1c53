"""What a command found, line by line, and whether that is well."""

from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; a `problem` says what is wrong and what to do."""

    subject: str
    problem: str = ""
    note: str = ""


def report(findings: Sequence[Finding]) -> None:
    """Print the findings; end with exit code 1 when there is a problem.

    Raises:
        click.exceptions.Exit: there is.
    """
    for finding in findings:
        verdict = "FAIL" if finding.problem else "ok"
        said = finding.problem or finding.note
        click.echo(f"{verdict:<5}{finding.subject}{': ' if said else ''}{said}")
    if any(finding.problem for finding in findings):
        raise click.exceptions.Exit(1)
