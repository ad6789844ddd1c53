"""What a run of pytest says of a guard that was taken out."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

# They tell that the program is broken, not that the guard is missed.
_ACCIDENTS: Final = re.compile(
    r"(?:\w+\.)*(?:SyntaxError|IndentationError|ImportError|ModuleNotFoundError"
    r"|NameError|KeyError|UnboundLocalError|AttributeError|UndefinedColumn"
    r"|UndefinedFunction|IndeterminateDatatype)\b"
    r"|.*\(SQLSTATE (?:42601|42703|42883|42P18)\)"
)


@dataclass(slots=True)
class Cases:
    """How the cases of one test ended; the words are why the first one failed."""

    passed: int = 0
    skipped: int = 0
    failed: int = 0
    errors: int = 0
    words: str = ""
    is_accident: bool = False
    is_too_slow: bool = False


def read_report(path: Path) -> Mapping[str, Cases]:
    """Read pytest's JUnit file, by node ids from tests/ on, without parameters."""
    found: defaultdict[str, Cases] = defaultdict(Cases)
    if not path.exists():
        return found
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314 (pytest's own)
        module = case.get("classname", "").removeprefix("tests.").replace(".", "/")
        name = case.get("name", "").partition("[")[0]
        cases = found[f"{module}.py::{name}"]
        outcomes = {child.tag: child for child in case}
        if (failure := outcomes.get("failure")) is not None:
            _note(cases, failure.get("message", ""))
        elif (error := outcomes.get("error")) is not None:
            cases.errors += 1
            cases.words = cases.words or _first_line(error.get("message", ""))
        elif "skipped" in outcomes:
            cases.skipped += 1
        else:
            cases.passed += 1
    return found


def complaint(
    tests: Collection[str], report: Mapping[str, Cases], *, hangs: bool = False
) -> str:
    """Say why a run without the guard is no proof, or nothing if it is one.

    Each of the tests must fail, by what it asserts: an error on the way to it, or a
    program that cannot run at all, says nothing of the guard. Nor does a test that
    takes too long, unless without the guard it `hangs`.
    """
    for test in tests:
        cases = report.get(test.partition("[")[0], Cases())
        if cases.failed == 0 and cases.errors:
            return f"{name_of(test)} did not get to its point: {cases.words}"
        if cases.failed == 0:
            how = "passed all the same" if cases.passed else "did not run"
            return f"{name_of(test)} {how}"
        if cases.is_accident or cases.is_too_slow is not hangs:
            return f"{name_of(test)} failed for another reason: {cases.words}"
    return ""


def sound(tests: Collection[str], report: Mapping[str, Cases]) -> str:
    """Say which test does not pass while every guard is in place, or nothing."""
    for test in tests:
        cases = report.get(test.partition("[")[0], Cases())
        if cases.failed or cases.errors:
            return f"{name_of(test)} fails with every guard in place: {cases.words}"
        if not cases.passed:
            return f"{name_of(test)} did not run"
    return ""


def name_of(test: str) -> str:
    """Return a test's name without its file."""
    return test.rpartition("::")[2]


def _note(cases: Cases, message: str) -> None:
    is_accident = _ACCIDENTS.match(message.replace("\n", " ")) is not None
    is_too_slow = message.startswith("Failed: Timeout")
    if cases.failed == 0 or cases.is_accident or cases.is_too_slow:
        cases.words = _first_line(message)
        cases.is_accident, cases.is_too_slow = is_accident, is_too_slow
    cases.failed += 1


def _first_line(message: str) -> str:
    return message.partition("\n")[0][:160]
