"""Carry the errors of a refused object from a handler to the server, past Kopf.

Kopf's response has room for one text and a code only. The list travels in a context
variable: Kopf copies the context into the thread that runs a handler, and the list
object itself is shared.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import Final, NoReturn

import kopf

from pg_operator.api.validation import FieldError, refusal

# The API server keeps more of a warning than this, but cuts when it gets many.
WARNING_RUNES: Final = 256
WARNING_COUNT: Final = 4096 // WARNING_RUNES

_errors: ContextVar[list[FieldError]] = ContextVar("errors of the review being served")


def collect_errors() -> list[FieldError]:
    """Return the list that `refuse` will fill while this context serves a review."""
    errors: list[FieldError] = []
    _errors.set(errors)
    return errors


def refuse(errors: Sequence[FieldError]) -> NoReturn:
    """Refuse the object under review for all its errors at once."""
    _errors.get([]).extend(errors)
    raise kopf.AdmissionError(
        refusal(errors), code=HTTPStatus.UNPROCESSABLE_ENTITY.value
    )


def fit_warnings(warnings: Sequence[str]) -> list[str]:
    """Drop repetitions and cut to what the API server passes on whole.

    It keeps 4096 characters of all warnings together and beyond that 256 of each
    (staging/src/k8s.io/apiserver/pkg/endpoints/filters/warning.go).
    """
    fitting = list(dict.fromkeys(_cut(warning) for warning in warnings))
    if len(fitting) > WARNING_COUNT:
        dropped = len(fitting) - WARNING_COUNT + 1
        fitting[WARNING_COUNT - 1 :] = [f"{dropped} more warnings are not shown"]
    return fitting


def _cut(warning: str) -> str:
    if len(warning) <= WARNING_RUNES:
        return warning
    return warning[: WARNING_RUNES - 1] + "…"
