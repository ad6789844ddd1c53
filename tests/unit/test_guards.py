"""The table of guards fits the tree, and proves only what it says. No server."""

import io
import re
import subprocess
from pathlib import Path

import pytest

from tests.guards.run import copied, prove
from tests.guards.table import CHECKOUT, Guard, read_table, taken_out
from tests.localcluster.postgres_packages import packaged_versions
from tests.localcluster.progress import Progress

TABLE = read_table()
TRAPS = range(1, 41)


def test_guards_are_in_their_files_once_and_can_be_taken_out() -> None:
    for guard in TABLE.guards:
        without = taken_out(guard, (CHECKOUT / guard.file).read_text(encoding="utf-8"))
        compile(without, guard.what, "exec")


def test_tests_of_guards_are_there_and_run_in_our_own_process() -> None:
    """In the other tiers it is the checkout's program that runs, not the copy's."""
    for guard in TABLE.guards:
        assert guard.tests, guard.what
        assert guard.on in {"", *packaged_versions()}
        for test in guard.tests:
            path, _, name = test.partition("::")
            assert path.partition("/")[0] in {"unit", "integration"}
            text = (CHECKOUT / "tests" / path).read_text(encoding="utf-8")
            name = name.partition("[")[0]
            assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), test


def test_every_trap_has_a_guard_or_a_reason_why_there_is_none() -> None:
    proven = {guard.trap for guard in TABLE.guards}
    assert not proven & TABLE.reasons.keys()
    assert {str(trap) for trap in TRAPS} <= proven | TABLE.reasons.keys()


# A tree of its own, whose tests need only one of its two guards.

PROGRAM = """
def half(number):
    if number < 0:
        raise ValueError("negative")
    if number > 1000:
        raise ValueError("large")
    return number / 2
"""
TESTS = """
import pytest

import program


def test_half_of_a_negative_number_is_refused():
    with pytest.raises(ValueError):
        program.half(-2)


def test_half_of_two_is_one():
    assert program.half(2) == 1
"""


def guard_of(text: str, instead: str, *tests: str) -> Guard:
    nodes = tuple(f"unit/test_program.py::{test}" for test in tests)
    return Guard("1", "a number", "program.py", text, instead, nodes)


NEGATIVE = "test_half_of_a_negative_number_is_refused"
TWO = "test_half_of_two_is_one"
# What is taken out, what must fail then, and why that proves nothing.
CASES = (
    (guard_of("number < 0", "False", NEGATIVE), ""),
    (guard_of("number > 1000", "False", NEGATIVE), f"{NEGATIVE} passed all the same"),
    (guard_of("number < 0", "False", NEGATIVE, TWO), f"{TWO} passed all the same"),
    (guard_of("number < 0", "nobody", TWO), f"{TWO} failed for another reason"),
    (guard_of("def half", "def half(", TWO), f"{TWO} did not run"),
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts sooner
    files = {"program.py": PROGRAM, "tests/unit/test_program.py": TESTS}
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path / "tree", check=True)
    (tmp_path / "tree" / "untracked").touch()
    return tmp_path / "tree"


def prove_all(tree: Path, *guards: Guard) -> tuple[int, str]:
    """Prove guards of the tree; return the status, and what was said."""
    told, copy = io.StringIO(), tree.parent / "copy"
    status = prove(guards, copied(tree, copy), Progress(told))
    assert (tree / "program.py").read_text(encoding="utf-8") == PROGRAM
    assert (copy / "program.py").read_text(encoding="utf-8") == PROGRAM
    assert not (copy / "untracked").exists()
    return status, told.getvalue()


def test_guard_is_proven_by_tests_that_miss_it_and_by_nothing_else(tree: Path) -> None:
    status, told = prove_all(tree, *(guard for guard, _ in CASES))
    assert status == 1
    assert f"{NEGATIVE} failed, as it must: Failed: DID NOT RAISE" in told
    assert "1 of 5 guards are missed by their tests" in told
    for _, why in CASES:
        assert not why or f"NOT PROVEN: {why}" in told


def test_nothing_is_taken_out_while_a_test_does_not_pass(tree: Path) -> None:
    missing = guard_of("number < 0", "False", "test_of_another_tree")
    status, told = prove_all(tree, missing)
    assert status == 1
    assert told.endswith("test_of_another_tree did not run\n")
