"""Reads the documents of a file as `kubectl apply -f` would, and judges ours."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pydantic
import yaml

from pg_operator.api.errors import echo
from pg_operator.api.names import cluster_name_problem, label_problem
from pg_operator.api.specs import API_VERSION, GROUP, PLURALS, SPECS, Kind
from pg_operator.api.validation import VALIDATORS, refusal
from pg_operator.reconcilers.outcome import Key, Object

_DATE: Final = "tag:yaml.org,2002:timestamp"
_NO_JSON: Final = "this is more than JSON can say"
# Of JSON, which aliases can make of a few lines of YAML: far more than is ever applied.
_MOST_CHARACTERS: Final = 4 << 20


class BadDocuments(Exception):
    """The documents cannot be used; each line of the text says why."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Our objects in the order of the file, and the Secrets beside them."""

    objects: Mapping[Key, Object]
    secrets: Mapping[tuple[str, str], Object] = field(repr=False)


def read_documents(text: str, *, namespace: str) -> Documents:
    """Read a stream of YAML or JSON; what does not say so is in `namespace`.

    Lists are opened. Other kinds are passed over, save for Secrets.

    Raises:
        BadDocuments: it is no such stream, or not every document of ours is one.
    """
    objects: dict[Key, Object] = {}
    secrets: dict[tuple[str, str], Object] = {}
    problems: list[str] = []
    for document in _flatten(_load(text)):
        kind, group = document.get("kind"), str(document.get("apiVersion"))
        if group.partition("/")[0] == GROUP:
            try:
                key = _key(document, namespace)
                if key in objects:
                    problems.append(f"{key}: stands in the file twice")
                objects[key] = _object(key, document)
            except BadDocuments as problem:
                problems.append(str(problem))
        elif (kind, group) == ("Secret", "v1"):
            metadata = document["metadata"]
            place = (
                str(metadata.get("namespace") or namespace),
                str(metadata.get("name")),
            )
            secrets[place] = document
    if problems:
        raise BadDocuments("\n".join(problems))
    return Documents(objects, secrets)


def check_documents(documents: Documents, *, stored: Mapping[Key, Object]) -> None:
    """Hold our documents to what admission does, as changes of what is `stored`.

    Raises:
        BadDocuments: with the messages of admission.
    """
    problems = []
    for key, obj in documents.objects.items():
        if unknown := list(_unknown_fields(key.kind, obj["spec"])):
            problems.append(f"{key}: {', '.join(unknown)}")
        errors = VALIDATORS[key.kind](obj, old=stored.get(key)).errors
        if errors:
            problems.append(f"{key}: {refusal(errors)}")
    if problems:
        raise BadDocuments("\n".join(problems))


class _Loader(yaml.SafeLoader):
    """Takes no text for a date, as kubectl does not."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _load(text: str) -> list[Any]:
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
        _check_end(documents, most=_MOST_CHARACTERS + 4 * len(text))
    except (ValueError, RecursionError):
        raise BadDocuments(_NO_JSON) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
    else:
        return documents
    # Not the parser's own text, which quotes the file: there may be Secrets in it.
    where = (
        "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
    )
    raise BadDocuments(f"this is not YAML{where}")


def _check_end(documents: list[Any], *, most: int) -> None:
    """Write documents out as far as that is within reason.

    Raises:
        ValueError: it is not, or they have no end.
    """
    encoder = json.JSONEncoder(default=str, skipkeys=True)
    for piece in encoder.iterencode(documents):
        most -= len(piece)
        if most < 0:
            raise ValueError


def _flatten(documents: list[Any]) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise BadDocuments("a document is no object with apiVersion and kind")
        if isinstance(items := document.get("items"), list):
            yield from _flatten(items)
            continue
        if not isinstance(document.get("metadata", {}), dict):
            raise BadDocuments("metadata: must be an object")
        yield {**document, "metadata": document.get("metadata") or {}}


def _key(document: Mapping[str, Any], namespace: str) -> Key:
    kind, name = document.get("kind"), document["metadata"].get("name")
    for known in PLURALS:
        if (known, API_VERSION) != (kind, document["apiVersion"]):
            continue
        if not name:
            raise BadDocuments(f"{kind}: metadata.name: Required value")
        _check(name, cluster_name_problem, f"{kind}: metadata.name")
        if known == "DatabaseCluster":
            return Key(known, "", name)
        place = document["metadata"].get("namespace") or namespace
        _check(place, label_problem, f"{kind}: metadata.namespace")
        return Key(known, place, name)
    raise BadDocuments(
        f"{document['apiVersion']} has no kind {kind}; those of {API_VERSION} are "
        f"{', '.join(PLURALS)}"
    )


def _check(name: object, problem: Callable[[str], object], path: str) -> None:
    """Hold a name to what the API server lets objects be called."""
    if not isinstance(name, str) or problem(name) is not None:
        raise BadDocuments(f"{path}: Invalid value: {echo(name)}")


def _object(key: Key, document: Mapping[str, Any]) -> Object:
    """Leave out what only the API server writes.

    Raises:
        BadDocuments: it cannot be sent.
    """
    try:
        json.dumps(document)
    except TypeError:
        raise BadDocuments(f"{key}: {_NO_JSON}") from None
    metadata = document["metadata"]
    kept = {field: metadata[field] for field in ("annotations",) if metadata.get(field)}
    scope = {"namespace": key.namespace} if key.namespace else {}
    return {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": {**kept, **scope, "name": key.name},
        "spec": document.get("spec"),
    }


def _unknown_fields(kind: Kind, spec: Any) -> Iterator[str]:
    """Say what the API server would of fields that do not exist."""
    try:
        SPECS[kind].model_validate_json(json.dumps(spec), extra="forbid")
    except pydantic.ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            if one["type"] == "extra_forbidden":
                yield f'unknown field "spec{_path(one["loc"])}"'


def _path(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)
