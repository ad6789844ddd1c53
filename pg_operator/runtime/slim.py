"""Objects without what nobody reads, which is most of their size."""

from typing import Any, Final, Literal

from pg_operator.api.specs import Kind
from pg_operator.reconcilers.outcome import Object

CachedKind = Kind | Literal["Namespace"]

_UNREAD_FIELDS: Final = frozenset({"managedFields", "selfLink"})
_UNREAD_ANNOTATIONS: Final = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration"}
)
# Names of fields, and words; messages and identifiers differ from each other.
_LONGEST_WORD: Final = 30
_MOST_WORDS: Final = 2_000


class Slim:
    """Makes objects small, of which thousands are alike.

    Every document that is read has a copy of its own of each word in it, also of the
    names of its fields; here the first of them serve all.
    """

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def __call__(self, kind: CachedKind, obj: Object) -> Object:
        """Return an object without what nobody reads of its kind."""
        metadata = {
            field: value
            for field, value in obj["metadata"].items()
            if field not in _UNREAD_FIELDS
        }
        if annotations := metadata.get("annotations"):
            metadata["annotations"] = {
                name: value
                for name, value in annotations.items()
                if name not in _UNREAD_ANNOTATIONS
            }
        rest = {} if kind == "Namespace" else obj
        slim: Object = self._part({**rest, "metadata": metadata})
        return slim

    def _part(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._word(name): self._part(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._part(part) for part in value]
        return self._word(value) if isinstance(value, str) else value

    def _word(self, word: str) -> str:
        known = self._words.get(word)
        if known is not None:
            return known
        if len(word) <= _LONGEST_WORD and len(self._words) < _MOST_WORDS:
            self._words[word] = word
        return word
