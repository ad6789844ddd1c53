"""Extensions of a database: which a tenant may have, and what it takes. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import Extension
from pg_operator.plan.operations import (
    AlterExtensionSchema,
    AlterExtensionVersion,
    CreateExtension,
)
from pg_operator.plan.state import EMPTY, UNSET, Installed, Pending

NONE_INSTALLED: Final[Mapping[str, Installed]] = EMPTY  # type: ignore[assignment]
Operation = CreateExtension | AlterExtensionVersion | AlterExtensionSchema


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions of a spec that may be made, and a word on each other one."""

    usable: Mapping[str, Installed] = field(default_factory=lambda: NONE_INSTALLED)
    pending: tuple[Pending, ...] = ()


def judge_extensions(
    declared: Sequence[Extension],
    *,
    trusted: Mapping[str, bool],
    allowed: Collection[str],
) -> Extensions:
    """Keep the extensions that any owner of a database may create, or that are allowed.

    Args:
        declared: In the order in which they are created.
        trusted: Whether the server calls each trusted; those it does not have are
            missing.
        allowed: The DatabaseCluster's `allowedExtensions`.

    """
    usable, pending = {}, []
    for extension in declared:
        name = extension.name
        path = f"spec.extensions[{name}]"
        if name not in trusted:
            message = (
                f"extension '{name}', in the version asked for, is not available on "
                "the server; it is created as soon as it is"
            )
            pending.append(Pending(path, Reason.EXTENSION_NOT_FOUND, message))
        elif trusted[name] or name in allowed:
            version = UNSET if extension.version is None else extension.version
            usable[name] = Installed(extension.schema_name, version)
        else:
            message = (
                f"extension '{name}' is not one that PostgreSQL trusts everybody with; "
                "remove it, or ask for it to be added to spec.allowedExtensions of the "
                "DatabaseCluster"
            )
            pending.append(Pending(path, Reason.NOT_ALLOWED, message))
    return Extensions(usable, tuple(pending))


def extension_changes(
    database: str,
    desired: Mapping[str, Installed],
    observed: Mapping[str, Installed],
) -> Iterator[Operation]:
    """Create what is missing, in order, and bring the others to version and schema."""
    for name, wanted in desired.items():
        found = observed.get(name)
        version = None if wanted.version is UNSET else wanted.version
        if found is None:
            yield CreateExtension(database, name, wanted.schema, version)
            continue
        if version is not None and found.version != version:
            yield AlterExtensionVersion(database, name, version)
        if found.schema != wanted.schema:
            yield AlterExtensionSchema(database, name, wanted.schema)
