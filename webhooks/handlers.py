"""Admission handlers: what is decided about one object, from the request alone.

The mutating webhook comes before the schema, so it already refuses with every error
at once, in words; the validating one has the last look at what will be stored. No
handler does I/O: the request, and what the webhook keeps in memory of the stored
objects, are all they decide by.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NoReturn, Protocol

import kopf

from pg_operator.api.specs import FINALIZER, GROUP, PLURALS, VERSION, Kind
from pg_operator.api.validation import VALIDATORS, Validator, Verdict
from webhooks.refusals import fit_warnings, refuse

logger = logging.getLogger(__name__)

INTERNAL_ERROR: Final = (
    "the object could not be checked because of an error inside pg-operator; "
    "try again, and if it stays, see the log of the pg-operator webhook"
)


class JudgeClaims(Protocol):
    """Judges a valid object beside the stored ones; the signature of `Index.judge`."""

    def __call__(
        self, kind: Kind, new: Mapping[str, Any], *, old: Mapping[str, Any] | None
    ) -> Verdict:
        """Return every error and warning; does no I/O."""


@dataclass(frozen=True, slots=True)
class AdmittedKind:
    """A kind that goes through admission, and the rules it must meet."""

    name: Kind
    validate: Validator

    @property
    def resource(self) -> kopf.Resource:
        """The kind as Kopf names it."""
        return kopf.Resource(
            group=GROUP, version=VERSION, plural=PLURALS[self.name], kind=self.name
        )


KINDS: Final = tuple(
    AdmittedKind(kind, validate) for kind, validate in VALIDATORS.items()
)


def register(
    registry: kopf.OperatorRegistry,
    *,
    claims: JudgeClaims,
    kinds: Sequence[AdmittedKind] = KINDS,
) -> Mapping[str, kopf.Resource]:
    """Register a mutating and a validating handler for each kind.

    Returns the resource that each handler id, which is also its URL path, judges.
    """
    routes: dict[str, kopf.Resource] = {}
    for kind in kinds:
        for name, on, judge in (
            ("mutate", kopf.on.mutate, _mutate),
            ("validate", kopf.on.validate, _validate),
        ):
            webhook = f"{name}-{kind.name.lower()}"
            bind = on(
                *kind.resource,
                id=webhook,
                operations=["CREATE", "UPDATE"],
                registry=registry,
            )
            bind(partial(_guarded, partial(judge, kind, claims)))
            routes[webhook] = kind.resource
    return routes


def _mutate(
    kind: AdmittedKind,
    claims: JudgeClaims,
    request: "_Request",
    *,
    patch: kopf.Patch,
    **_: object,
) -> None:
    """Refuse early; on CREATE add our finalizer, which saves the controller a write."""
    verdict = request.judged_by(kind, claims)
    if verdict.errors:
        _refuse(kind, request, verdict)
    finalizers = request.new.get("metadata", {}).get("finalizers") or []
    if request.operation == "CREATE" and FINALIZER not in finalizers:
        patch.metadata["finalizers"] = [*finalizers, FINALIZER]


def _validate(
    kind: AdmittedKind,
    claims: JudgeClaims,
    request: "_Request",
    *,
    warnings: list[str],
    **_: object,
) -> None:
    """Judge the final object; warn here only, so that nothing is said twice."""
    verdict = request.judged_by(kind, claims)
    warnings.extend(fit_warnings(verdict.warnings))
    if verdict.errors:
        _refuse(kind, request, verdict)


@dataclass(frozen=True, slots=True)
class _Request:
    """What a handler is asked to judge."""

    operation: str
    new: Mapping[str, Any]
    old: Mapping[str, Any] | None

    def judged_by(self, kind: AdmittedKind, claims: JudgeClaims) -> Verdict:
        """Judge a change of the spec; anything else is none of admission's business.

        Deleting an object, its finalizers, labels and status must never depend on
        rules that may have been tightened since it was stored.
        """
        deleting = self.new.get("metadata", {}).get("deletionTimestamp") is not None
        unchanged = (
            self.operation == "UPDATE"
            and self.old is not None
            and self.new.get("spec") == self.old.get("spec")
        )
        if deleting or unchanged:
            return Verdict(errors=(), warnings=())
        verdict = kind.validate(self.new, old=self.old)
        if verdict.errors:
            return verdict
        beside = claims(kind.name, self.new, old=self.old)
        return Verdict(beside.errors, (*verdict.warnings, *beside.warnings))


def _guarded(
    judge: Callable[..., None],
    *,
    operation: str,
    new: kopf.Body,
    old: kopf.Body | None,
    **kwargs: object,
) -> None:
    """Run a handler; an exception's text must never reach the user's terminal."""
    request = _Request(
        operation=operation, new=dict(new), old=None if old is None else dict(old)
    )
    try:
        judge(request, **kwargs)
    except kopf.AdmissionError:
        raise
    except Exception:
        logger.exception("Failed to check an object")
        raise kopf.AdmissionError(
            INTERNAL_ERROR, code=HTTPStatus.INTERNAL_SERVER_ERROR.value
        ) from None


def _refuse(kind: AdmittedKind, request: _Request, verdict: Verdict) -> NoReturn:
    metadata = request.new.get("metadata", {})
    # Names are quoted: before the schema they may hold anything, line breaks too.
    logger.info(
        "Refused %s of %s %r in namespace %r: %s",
        request.operation,
        kind.name,
        metadata.get("name"),
        metadata.get("namespace"),
        ", ".join(sorted({error.rule for error in verdict.errors})),
    )
    refuse(verdict.errors)
