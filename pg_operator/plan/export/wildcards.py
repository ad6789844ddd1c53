"""Where default privileges let `*` say what roles hold, and by whose creators. Pure.

`*` is what exists and what the schema's creators will create, so it can only stand
where default privileges are in place for all of them: anything else would be a plan.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.validation.database import MOST_CREATORS
from pg_operator.api.validation.permissions import MOST_TABLES
from pg_operator.plan.creators import Creators, effective_creators
from pg_operator.plan.grants import Grant, Securable

KINDS: Final[tuple[ObjectKind, ...]] = ("table", "sequence", "function", "type")

# A word, and whether it is the right to pass it on.
Word = tuple[str, bool]
Words = frozenset[Word]
NONE: Final[Words] = frozenset()


@dataclass(frozen=True, slots=True)
class KindHeld:
    """What one role holds on objects of one kind in one schema.

    `existing` has every object that there is, `future` the default privileges by the
    role whose future objects they are for.
    """

    kind: ObjectKind
    existing: Mapping[Securable, Words] = field(default_factory=dict)
    future: Mapping[str, Words] = field(default_factory=dict)

    def for_all(self, creators: Collection[str]) -> Words:
        """Return the words that `*` can say with these creators.

        Tables can be left out of `*` by name, up to a limit.
        """
        if not creators:
            return NONE
        words = NONE.union(*self.future.values())
        for creator in creators:
            words &= self.future.get(creator, NONE)
        few = self.kind == "table" and len(self.exceptions(words)) <= MOST_TABLES
        if few:
            return words
        for held in self.existing.values():
            words &= held
        return words

    def exceptions(self, words: Words) -> tuple[Securable, ...]:
        """Return the objects that do not have all of the words."""
        return tuple(sorted(on for on, held in self.existing.items() if words - held))


def held_on(
    grants: Iterable[Grant], objects: Iterable[Securable]
) -> tuple[KindHeld, ...]:
    """Return what one role holds in one schema, but for columns, by kind.

    Args:
        grants: All that it holds on what is in the schema.
        objects: All that there is in the schema.

    """
    future: defaultdict[ObjectKind, defaultdict[str, set[Word]]]
    future = defaultdict(lambda: defaultdict(set))
    held: defaultdict[Securable, set[Word]] = defaultdict(set)
    for grant in grants:
        word = grant.privilege, grant.grantable
        if grant.on.creator:
            future[grant.on.kind][grant.on.creator].add(word)
        else:
            held[grant.on].add(word)
    existing: dict[ObjectKind, dict[Securable, Words]] = {kind: {} for kind in KINDS}
    for on in objects:
        if on.kind in existing:
            existing[on.kind][on] = frozenset(held[on])
    return tuple(
        KindHeld(
            kind,
            existing[kind],
            {creator: frozenset(words) for creator, words in future[kind].items()},
        )
        for kind in KINDS
    )


def grants_by_schema(grants: Iterable[Grant], database: str) -> dict[str, list[Grant]]:
    """Return the grants in a database by schema; those on itself are in none."""
    found: defaultdict[str, list[Grant]] = defaultdict(list)
    for grant in grants:
        if grant.on.database == database and grant.on.schema:
            found[grant.on.schema].append(grant)
    return dict(found)


def objects_by_schema(objects: Iterable[Securable]) -> dict[str, list[Securable]]:
    """Return the objects of a database by schema."""
    found: defaultdict[str, list[Securable]] = defaultdict(list)
    for on in objects:
        found[on.schema].append(on)
    return dict(found)


def choose_creators(
    held: Mapping[str, Collection[KindHeld]],
    *,
    undeclared: Creators,
    nameable: Collection[str],
) -> frozenset[str] | None:
    """Return the creators to declare for a schema; None for none.

    They are chosen so that `*` covers as many default privileges as it can.

    Args:
        held: What each role that is exported holds in the schema.
        undeclared: Who counts as a creator while none are declared.
        nameable: The roles that a Database may declare.

    """
    best: frozenset[str] | None = None
    most = _covered(held, None, undeclared)
    for candidate in _candidates(held, nameable):
        covers = _covered(held, candidate, undeclared)
        # To declare is better than to trust that nobody else will create in it.
        if covers > most or (covers == most and covers and best is None):
            best, most = candidate, covers
    return best


def _candidates(
    held: Mapping[str, Collection[KindHeld]], nameable: Collection[str]
) -> list[frozenset[str]]:
    found: set[frozenset[str]] = set()
    for role, kinds in held.items():
        for words in (kind.future for kind in kinds):
            for word in NONE.union(*words.values()):
                creators = {one for one in words if word in words[one]} & {*nameable}
                found |= {frozenset(creators), frozenset(creators | {role})}
    fit = (one for one in found if 0 < len(one) <= MOST_CREATORS)
    return sorted(fit, key=lambda one: (len(one), sorted(one)))


def _covered(
    held: Mapping[str, Collection[KindHeld]],
    declared: frozenset[str] | None,
    undeclared: Creators,
) -> int:
    """Count the default privileges that `*` can say with some creators."""
    return sum(
        len(creators) * len(kind.for_all(creators))
        for role, creators in _effective(held, declared, undeclared)
        for kind in held[role]
    )


def _effective(
    held: Iterable[str], declared: frozenset[str] | None, undeclared: Creators
) -> Iterator[tuple[str, frozenset[str]]]:
    for role in held:
        yield role, effective_creators(declared, undeclared, role=role)
