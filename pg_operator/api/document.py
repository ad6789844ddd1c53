"""What every part of a spec is: frozen, strict, camelCase outside. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Document(BaseModel):
    """A frozen part of a spec; camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        strict=True,
    )

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> Self:
        """Parse a raw spec.

        Raises:
            pydantic.ValidationError: the document is not of this shape.
        """
        # Through JSON, where strict mode takes an array for a tuple.
        return cls.model_validate_json(json.dumps(spec))
