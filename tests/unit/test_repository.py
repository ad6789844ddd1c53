"""Rules for the repository itself."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pg_operator.api.specs import API_VERSION
from pg_operator.api.validation import VALIDATORS

CHECKOUT = Path(__file__).parents[2]
# In parts, so that this file names none of them itself.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("deb", "debian", "org"),
    )
]
DOCUMENTS = [
    CHECKOUT / "README.md",
    CHECKOUT / "CONTRIBUTING.md",
    *sorted((CHECKOUT / "docs").glob("*.md")),
]


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return [CHECKOUT / name for name in listed.stdout.splitlines()]


def test_no_tracked_file_names_a_package_registry() -> None:
    found = [
        (path.name, registry)
        for path in tracked_files()
        if path.is_file()
        for registry in REGISTRIES
        if registry in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documented_objects_are_valid(document: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", document.read_text(), flags=re.DOTALL)
    objects = [obj for block in blocks for obj in yaml.safe_load_all(block)]
    ours = [obj for obj in objects if obj.get("apiVersion") == API_VERSION]
    assert [VALIDATORS[obj["kind"]](obj).errors for obj in ours] == [()] * len(ours)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documented_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_trap_is_listed_and_every_test_in_the_list_exists() -> None:
    listed = (CHECKOUT / "tests" / "TRAPS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (A?\d+(?:, A?\d+)*) \|", listed, flags=re.MULTILINE)
    numbers = [number for row in rows for number in row.split(", ")]
    plain = [int(number) for number in numbers if number.isdecimal()]
    assert plain == list(range(1, 117))
    of_admission = {int(number[1:]) for number in numbers if number[0] == "A"}
    assert of_admission == set(range(1, 41))
    tests = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (CHECKOUT / "tests").rglob("test_*.py")
    )
    defined = set(re.findall(r"^(?:async )?def (test_\w+)\(", tests, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", listed))
    assert named - defined == set()
