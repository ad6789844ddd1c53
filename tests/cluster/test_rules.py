"""The API server's rules and Python's agree, and cost it little."""

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import pytest
import yaml

from pg_operator.api.rules import RULES
from pg_operator.api.specs import PLURALS, Kind
from pg_operator.api.validation import VALIDATORS
from pg_operator.kube.client import Kubernetes, object_path
from pg_operator.kube.errors import Invalid
from tests.cluster.objects import database, database_cluster, database_role
from tests.cluster.unguarded import crd_text, without_admission
from tests.errors import UNKNOWN_FIELD, errors_of, samples
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl

Json = dict[str, Any]
Path_ = tuple[str | int, ...]
IN_FLIGHT: Final = 8
FACTORS: Final = (1, 2, 4, 8, 16, 32)

EXAMPLES: Mapping[Kind, Json] = {
    "DatabaseCluster": database_cluster("agreement", allowedNamespaces={"from": "All"}),
    "Database": database("agreement", "none"),
    "DatabaseRole": database_role(
        "agreement", "none", password={"name": "x"}, permissions=[{"database": "x"}]
    ),
}
# The fields whose rules the API server has in full.
FIELDS: tuple[tuple[Kind, Path_], ...] = (
    ("DatabaseCluster", ("connection", "name")),
    ("DatabaseCluster", ("connection", "namespace")),
    ("DatabaseCluster", ("connection", "key")),
    ("DatabaseCluster", ("allowedNamespaces", "from")),
    ("DatabaseCluster", ("namePrefix",)),
    ("DatabaseCluster", ("resyncInterval",)),
    ("DatabaseCluster", ("maxConnections",)),
    ("Database", ("name",)),
    ("Database", ("databaseClusterRef", "name")),
    ("Database", ("schema",)),
    ("Database", ("encoding",)),
    ("Database", ("timezone",)),
    ("Database", ("connectionLimit",)),
    ("Database", ("databaseServiceName",)),
    ("Database", ("deletionPolicy",)),
    ("DatabaseRole", ("roleName",)),
    ("DatabaseRole", ("password", "name")),
    ("DatabaseRole", ("password", "key")),
    ("DatabaseRole", ("validUntil",)),
    ("DatabaseRole", ("permissions", 0, "database")),
    ("DatabaseRole", ("permissions", 0, "privileges")),
)
VALUES: tuple[Any, ...] = (
    *("", "a", "A", "_", "_a", "1a", "a-b", "a-", "-a", "a$", "$a", "a.b", "a b", "é"),
    *("a" * 62, "a" * 63, "a" * 64, "a" * 253, "a" * 254, 'a"b', "a\nb", "a\x7f"),
    *("pg_a", "pg", "public", "none", "user", "postgres", "template0", "all"),
    *("information_schema", "kubernetes", ".", "..", "a/b", "{namespace}_", "{a}"),
    *("UTC", "Europe/Berlin", "+01", "UTF8", "utf8", "LATIN1", "SQL_ASCII"),
    *("10m", "1h30m", "5s", "4s", "4999ms", "24h", "24h1s", "1d", "1.5h", "infinity"),
    *("2027-01-31T22:00:00Z", "2027-01-31", "Retain", "Delete", "delete", "Names"),
    # No null: the API server takes it for a field that is not there.
    *(-2, -1, 0, 1, 100, 101, 2**31 - 1, 2**31, True, [], {}),
    *(["CONNECT"], ["connect"], ["ALL"], ["ALL", "CONNECT"], ["SELECT"]),
)


def changed(kind: Kind, path: Path_, value: object) -> Json:
    """Put a value into a valid object."""
    obj = copy.deepcopy(EXAMPLES[kind])
    if kind != "DatabaseCluster":
        obj["metadata"]["namespace"] = "default"
    place: Any = obj["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return obj


async def refused(kubernetes: Kubernetes, obj: Json) -> bool:
    """Tell whether the API server refuses to create an object."""
    namespace = obj["metadata"].get("namespace", "")
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    path = object_path(obj["kind"], namespace)
    try:
        await kubernetes.request("POST", path, query=query, body=obj)
    except Invalid:
        return True
    return False


async def all_refused(kubectl: Kubectl, objects: Iterable[Json]) -> list[bool]:
    """Ask about many, some at a time."""
    turns = asyncio.Semaphore(IN_FLIGHT)
    async with await Kubernetes.connect(str(kubectl.kubeconfig)) as kubernetes:

        async def ask(obj: Json) -> bool:
            async with turns:
                return await refused(kubernetes, obj)

        return await asyncio.gather(*(ask(obj) for obj in objects))


def test_api_server_alone_refuses_what_the_table_says_and_python_agrees(
    cluster: LocalCluster,
) -> None:
    broken = {
        path: {error.rule for error in errors_of(path)}
        for path in samples()
        if path.stem != UNKNOWN_FIELD
    }
    # Of two documents the first is stored, which a dry run cannot do.
    single = {path: list(yaml.safe_load_all(path.read_text())) for path in broken}
    single = {path: found for path, found in single.items() if len(found) == 1}
    generated = [(kind, path, value) for kind, path in FIELDS for value in VALUES]
    objects = [changed(*case) for case in generated]
    everything = [found[0] for found in single.values()] + objects

    with without_admission(cluster.kubectl):
        answers = asyncio.run(all_refused(cluster.kubectl, everything))

    by_sample = dict(zip(single, answers, strict=False))
    expected = {
        path: any(RULES[rule].floor and not RULES[rule].where for rule in broken[path])
        for path in single
    }
    certain = {
        path for path in single if not any(RULES[rule].where for rule in broken[path])
    }
    assert {p.stem: by_sample[p] for p in certain} == {
        p.stem: expected[p] for p in certain
    }
    disagreeing = [
        (case, "refused" if answer else "let pass")
        for case, obj, answer in zip(
            generated, objects, answers[len(single) :], strict=True
        )
        if answer != bool(VALIDATORS[obj["kind"]](obj).errors)
    ]
    assert disagreeing == []


@pytest.mark.parametrize("kind", list(PLURALS))
def test_rules_of_a_crd_could_cost_twice_as_much(
    cluster: LocalCluster, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    """The API server tells no cost, but refuses a CRD whose rules cost too much."""
    for what, enlarge in (("lists as long", _lengthen), ("rules as costly", _repeat)):
        accepted = [
            factor
            for factor in FACTORS
            if _fits(cluster.kubectl, kind, partial(enlarge, factor))
        ]
        with capsys.disabled():
            most = max(accepted, default=0)
            print(f"\n{kind}: CEL budget holds with {what} times {most}")  # noqa: T201
        assert {1, 2} <= set(accepted)


def _fits(kubectl: Kubectl, kind: Kind, enlarge: Callable[[Json], None]) -> bool:
    crd = yaml.safe_load(crd_text(kind))
    enlarge(crd)
    options = ("--server-side", "--force-conflicts", "--dry-run=server")
    done = kubectl("apply", "--filename=-", *options, input=yaml.safe_dump(crd))
    assert done.returncode == 0 or "cost" in done.stderr, done.stderr
    return done.returncode == 0


def _lengthen(factor: int, node: Any) -> None:
    """Multiply every maxItems that is a limit, not a rule of its own."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict) and value.get("type") == "array":
            value["maxItems"] *= factor
        if isinstance(value, dict | list):
            _lengthen(factor, value)


def _repeat(factor: int, node: Any) -> None:
    """Have every rule in CEL judged several times."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        if name == "rule":
            node[name] = " && ".join([f"({value})"] * factor)
        elif isinstance(value, dict | list):
            _repeat(factor, value)
