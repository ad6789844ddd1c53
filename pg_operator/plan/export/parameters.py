"""Settings as `parameters` of a spec. Pure."""

from collections.abc import Mapping

from pg_operator.api.validation.parameters import (
    LONGEST_VALUE,
    MOST_PARAMETERS,
    parameter_problem,
)
from pg_operator.plan.export.documents import shown


def fit_parameters(
    settings: Mapping[str, str], *, where: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Return the settings that a spec may declare, and a remark on each other one.

    `where` goes on after "parameter 'x'", like " in database 'y'".
    """
    fit: dict[str, str] = {}
    remarks: list[str] = []
    for name, value in sorted(settings.items()):
        why = _problem(name, value)
        if why is None and len(fit) == MOST_PARAMETERS:
            why = f"a spec lists {MOST_PARAMETERS} at most"
        if why is None:
            fit[name] = value
        else:
            remarks.append(f"not in here: parameter {shown(name)}{where}: {why}")
    return fit, remarks


def _problem(name: str, value: str) -> str | None:
    problem = parameter_problem(name)
    if problem is not None:
        return problem.detail
    if len(value) > LONGEST_VALUE or not value.isprintable():
        return f"its value is longer than {LONGEST_VALUE} characters, or no plain line"
    return None
