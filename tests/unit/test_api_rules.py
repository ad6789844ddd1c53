"""The table of rules is complete, and its page is what it says."""

import ast
from pathlib import Path

import pytest

from pg_operator.api.rules import RULES
from tests.errors import CHECKOUT, PAGE, UNKNOWN_FIELD, errors_of, render, samples

# What reports a broken rule, and gives its id first.
REPORTS = {"Problem", "FieldError", "_problem"}


def reported(path: Path) -> set[str]:
    """Return the ids of the rules that a module reports."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in REPORTS
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def test_table_has_every_rule_that_is_reported_and_no_other() -> None:
    modules = [*CHECKOUT.glob("pg_operator/api/**/*.py"), *CHECKOUT.glob("webhooks/*")]
    ids = {rule for path in modules if path.suffix == ".py" for rule in reported(path)}
    assert ids == set(RULES)


def test_every_rule_has_a_sample_that_breaks_it_or_an_example() -> None:
    shown = {error.rule for sample in samples() for error in errors_of(sample)}
    assert shown | {name for name, rule in RULES.items() if rule.example} == set(RULES)


@pytest.mark.parametrize(
    "sample", [path for path in samples() if path.stem != UNKNOWN_FIELD], ids=str
)
def test_sample_breaks_rules_of_the_table(sample: Path) -> None:
    rules = {error.rule for error in errors_of(sample)}
    assert rules
    assert rules <= set(RULES)


def test_page_of_errors_is_made_of_the_table() -> None:
    """`make docs` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == render()
