"""Label selectors, as Kubernetes has them (meta/v1 LabelSelector). Pure."""

from collections.abc import Mapping
from typing import Literal, assert_never

from pg_operator.api.document import Document


class Requirement(Document):
    """What one label of a namespace must be."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels are so; a label that is absent is not in any list."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        assert_never(self.operator)


class LabelSelector(Document):
    """Requirements that must all be met; without any, everything is selected."""

    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels meet every requirement."""
        return self.match_labels.items() <= labels.items() and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
