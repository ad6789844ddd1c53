"""The AdmissionReview as it travels: reading a request, adding to a response. Pure.

What is checked here is the envelope only, so that everything behind may rely on it;
the object inside is the validators' business.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pg_operator.api.validation import FieldError


class MalformedReviewError(Exception):
    """The body of a request is no AdmissionReview; says what is wrong with it."""


class _Envelope(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _GroupVersionResource(_Envelope):
    group: str
    version: str
    resource: str


class _GroupVersionKind(_Envelope):
    group: str
    version: str
    kind: str


class _Object(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    metadata: dict[str, Any]


class _Request(_Envelope):
    uid: str = Field(min_length=1)
    kind: _GroupVersionKind
    resource: _GroupVersionResource
    sub_resource: str | None = Field(default=None, alias="subResource")
    name: str | None = None
    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    user_info: dict[str, Any] = Field(alias="userInfo")
    object: _Object | None = None
    old_object: _Object | None = Field(default=None, alias="oldObject")

    @model_validator(mode="after")
    def _has_the_objects_of_its_operation(self) -> Self:
        if self.operation in ("CREATE", "UPDATE") and self.object is None:
            raise ValueError("object must be given on CREATE and UPDATE")
        if self.operation == "UPDATE" and self.old_object is None:
            raise ValueError("oldObject must be given on UPDATE")
        return self


class _AdmissionReview(_Envelope):
    api_version: Literal["admission.k8s.io/v1"] = Field(alias="apiVersion")
    kind: Literal["AdmissionReview"]
    request: _Request


class _Shared(dict[str, Any]):
    """A spec that is not copied: we never rewrite one, and Kopf copies every object.

    For an object of 2.5 MB, which the mutating webhook sees before the schema can
    refuse it, the copy would keep every other review waiting for a second.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class Review:
    """A well-formed request for admission; `document` is the body as Kopf wants it."""

    document: Any
    request: _Request

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the body of an HTTP request.

        Raises MalformedReviewError with a sentence that quotes nothing of the body.
        """
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise MalformedReviewError("the body must be JSON") from None
        try:
            review = _AdmissionReview.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(step) for step in first["loc"])
            raise MalformedReviewError(
                f"the body must be an AdmissionReview: {field}: {first['msg']}"
            ) from None
        for name in ("object", "oldObject"):
            found = document["request"].get(name)
            if found is None:
                continue
            # Larger than most objects; nobody reads them, and Kopf copies and compares.
            found["metadata"].pop("managedFields", None)
            if isinstance(found.get("spec"), dict):
                found["spec"] = _Shared(found["spec"])
        return cls(document=document, request=review.request)

    def concerns(self, resource: tuple[str, ...]) -> bool:
        """Whether a (group, version, plural) itself is created or updated."""
        asked = self.request.resource
        return (
            not self.request.sub_resource
            and self.request.operation in ("CREATE", "UPDATE")
            and (asked.group, asked.version, asked.resource) == resource
        )

    def denial(self, message: str, *, code: int) -> dict[str, Any]:
        """Answer that the request was not allowed, with an HTTP status for the user."""
        return {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": self.request.uid,
                "allowed": False,
                "status": {"code": code, "message": message},
            },
        }

    def with_causes(
        self, answer: Mapping[str, Any], errors: Sequence[FieldError]
    ) -> dict[str, Any]:
        """Make a denial an Invalid one with a cause per field, for machine readers.

        The shape is the one that the API server itself answers for a failed schema.
        """
        response = answer["response"]
        details = {
            "group": self.request.kind.group,
            "kind": self.request.kind.kind,
            "name": self.request.name or "",
            "causes": [
                {"reason": error.reason, "message": error.message, "field": error.path}
                for error in errors
            ],
        }
        status = {**response["status"], "reason": "Invalid", "details": details}
        return {**answer, "response": {**response, "status": status}}
