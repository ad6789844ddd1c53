"""Images without images: what a Dockerfile's last stage says, and files to bind.

Only what decides how a program runs is read: ENTRYPOINT, CMD, ENV, USER, WORKDIR, and
where the last stage copies the earlier stages' work to.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DockerfileError(Exception):
    """A Dockerfile says something that the node cannot follow."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a container of an image runs; `copied` are the paths of earlier stages."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    copied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A recipe and the host's directories that stand for its files, by path."""

    recipe: Recipe
    files: Mapping[str, Path]

    def to_json(self) -> dict[str, Any]:
        """Return the image as plain data."""
        recipe = {name: getattr(self.recipe, name) for name in Recipe.__slots__}
        return {"recipe": recipe, "files": {k: str(v) for k, v in self.files.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Image":
        """Return the image that `to_json` wrote."""
        said = data["recipe"]
        lists = {key: tuple(said[key]) for key in ("entrypoint", "command", "copied")}
        files = {path: Path(source) for path, source in data["files"].items()}
        return cls(recipe=Recipe(**said | lists), files=files)


def read_dockerfile(text: str) -> Recipe:
    """Return what the last stage of a Dockerfile says. Raises DockerfileError."""
    recipe = Recipe()
    for keyword, rest in instructions(text):
        if keyword == "FROM":
            recipe = Recipe(environment={"PATH": BASE_PATH})
        elif keyword == "ENV":
            recipe = replace(recipe, environment=_environment(recipe, rest))
        elif keyword == "USER":
            recipe = replace(recipe, user=rest)
        elif keyword == "WORKDIR":
            recipe = replace(recipe, workdir=rest)
        elif keyword == "ENTRYPOINT":
            recipe = replace(recipe, entrypoint=_words(rest))
        elif keyword == "CMD":
            recipe = replace(recipe, command=_words(rest))
        elif keyword == "COPY" and rest.startswith("--from="):
            recipe = replace(recipe, copied=(*recipe.copied, rest.split()[-1]))
    return recipe


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield every instruction of a Dockerfile as keyword and the rest, in one line."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(kept))
    for line in filter(str.strip, joined.splitlines()):
        keyword, _, rest = line.strip().partition(" ")
        yield keyword.upper(), rest.strip()


def _environment(recipe: Recipe, rest: str) -> dict[str, str]:
    """Return the environment after one ENV, with the earlier one filled in."""
    before = recipe.environment

    def known(found: re.Match[str]) -> str:
        return before.get(found[1], "")

    values = dict(before)
    for pair in shlex.split(rest):
        name, equals, value = pair.partition("=")
        if not equals:
            raise DockerfileError(f"ENV must be written NAME=VALUE, not '{rest}'")
        values[name] = re.sub(r"\$\{?(\w+)\}?", known, value)
    return values


def _words(rest: str) -> tuple[str, ...]:
    if not rest.startswith("["):
        # A shell in between would get the signals instead of the program.
        raise DockerfileError(f"must be a JSON list of words, not '{rest}'")
    return tuple(json.loads(rest))
