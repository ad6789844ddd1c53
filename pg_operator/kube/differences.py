"""Whether a server-side apply would change anything. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from pg_operator.kube.transport import FIELD_MANAGER


def differs(desired: Mapping[str, Any], stored: Mapping[str, Any] | None) -> bool:
    """Tell whether applying `desired` would change a stored object.

    It would where a desired value is not there, or an owner that we applied is not
    desired any more. What others set beside our fields is theirs.
    """
    if stored is None:
        return True
    metadata = dict(desired["metadata"])
    owners = metadata.pop("ownerReferences")
    return not _includes(stored, {**desired, "metadata": metadata}) or _owners_differ(
        owners, stored["metadata"]
    )


def _owners_differ(owners: Sequence[Mapping[str, Any]], metadata: Any) -> bool:
    stored = {owner["uid"]: owner for owner in metadata.get("ownerReferences") or ()}
    wanted = {owner["uid"]: owner for owner in owners}
    lacks = any(not _includes(stored.get(uid), wanted[uid]) for uid in wanted)
    # Only what we applied is ours to take away: a reference that a restored backup
    # brought along would come up as a difference for ever.
    applied = _applied_owners(metadata)
    surplus = any(f'k:{{"uid":"{uid}"}}' in applied for uid in stored.keys() - wanted)
    return lacks or surplus


def _applied_owners(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return our part of managedFields: owner references by their keys."""
    for entry in metadata.get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            fields: Mapping[str, Any] = entry["fieldsV1"].get("f:metadata") or {}
            return fields.get("f:ownerReferences") or {}
    return {}


def _includes(stored: object, wanted: object) -> bool:
    """Tell whether a stored value has all that is wanted; lists must be as long."""
    if isinstance(wanted, Mapping):
        return isinstance(stored, Mapping) and all(
            _includes(stored.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(stored, list)
            and len(stored) == len(wanted)
            and all(map(_includes, stored, wanted))
        )
    return stored == wanted
