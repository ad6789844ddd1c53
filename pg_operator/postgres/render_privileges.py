"""GRANT and REVOKE as SQL."""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg import sql

from pg_operator.api.privileges import ObjectKind, find_privilege
from pg_operator.plan.grants import Securable
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.quote import checked_signature, quote_name, quote_role


def render_privileges(operation: GrantPrivileges | RevokePrivileges) -> sql.Composed:
    """Return the one statement of an operation.

    Raises:
        Rejected: a name or word that cannot be sent.
    """
    words = render_words(operation.kind, operation.privileges)
    role = quote_role(operation.role)
    on = operation.on
    if on[0].creator:
        return _default_privileges(operation, words, role)
    if operation.kind == "column":
        words = _on_columns(operation.privileges, on)
        on = on[:1]
    objects = sql.SQL(", ").join(map(_object, on))
    kind = _KINDS[operation.kind]
    return _form(operation, "{} ON {} {}").format(words, kind, objects, role)


def _default_privileges(
    operation: GrantPrivileges | RevokePrivileges,
    words: sql.Composed,
    role: sql.Identifier,
) -> sql.Composed:
    creators = sql.SQL(", ").join(quote_role(on.creator) for on in operation.on)
    start = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}").format(creators)
    if schema := operation.on[0].schema:
        start += sql.SQL(" IN SCHEMA {}").format(quote_name(schema))
    kind = _FUTURE_KINDS[operation.kind]
    action = _form(operation, "{} ON {}").format(words, kind, role)
    return sql.SQL("{} {}").format(start, action)


def _form(
    operation: GrantPrivileges | RevokePrivileges, what: LiteralString
) -> sql.SQL:
    """Return the statement around what is granted, with a place for the role."""
    if isinstance(operation, GrantPrivileges):
        option = " WITH GRANT OPTION" if operation.grantable else ""
        return sql.SQL("GRANT " + what + " TO {}" + option)
    # What the role passed on goes, too: it must not keep a right by lending it.
    option = "GRANT OPTION FOR " if operation.grantable else ""
    return sql.SQL("REVOKE " + option + what + " FROM {} CASCADE")


def render_words(kind: ObjectKind, words: Sequence[str]) -> sql.Composed:
    """Return the words of a GRANT.

    Raises:
        Rejected: there is no such word for this kind.
    """
    for word in words:
        if find_privilege(kind, word) is None:
            raise Rejected(f"there is no privilege {word!r} on a {kind}")
    # Identifiers would be quoted, and GRANT takes no quoted words; these are checked.
    return sql.SQL(", ").join(_WORDS[word] for word in words)


def _on_columns(words: Sequence[str], columns: Sequence[Securable]) -> sql.Composed:
    names = sql.SQL(", ").join(quote_name(on.column) for on in columns)
    return sql.SQL(", ").join(
        sql.SQL("{} ({})").format(render_words("column", [word]), names)
        for word in words
    )


def _object(on: Securable) -> sql.Composable:
    match on.kind:
        case "database":
            return quote_name(on.database)
        case "schema":
            return quote_name(on.schema)
        case "function":
            signature = checked_signature(on.name)
            return sql.SQL("{}.{}").format(quote_name(on.schema), signature)
        case _:
            return quote_name(on.schema, on.name)


_KINDS: Final[dict[ObjectKind, sql.SQL]] = {
    "database": sql.SQL("DATABASE"),
    "schema": sql.SQL("SCHEMA"),
    "table": sql.SQL("TABLE"),
    "column": sql.SQL("TABLE"),
    "sequence": sql.SQL("SEQUENCE"),
    "function": sql.SQL("ROUTINE"),
    "type": sql.SQL("TYPE"),
}

_FUTURE_KINDS: Final[dict[ObjectKind, sql.SQL]] = {
    "schema": sql.SQL("SCHEMAS"),
    "table": sql.SQL("TABLES"),
    "sequence": sql.SQL("SEQUENCES"),
    "function": sql.SQL("ROUTINES"),
    "type": sql.SQL("TYPES"),
}

_WORDS: Final[dict[str, sql.SQL]] = {
    "CONNECT": sql.SQL("CONNECT"),
    "CREATE": sql.SQL("CREATE"),
    "TEMPORARY": sql.SQL("TEMPORARY"),
    "USAGE": sql.SQL("USAGE"),
    "SELECT": sql.SQL("SELECT"),
    "INSERT": sql.SQL("INSERT"),
    "UPDATE": sql.SQL("UPDATE"),
    "DELETE": sql.SQL("DELETE"),
    "TRUNCATE": sql.SQL("TRUNCATE"),
    "REFERENCES": sql.SQL("REFERENCES"),
    "TRIGGER": sql.SQL("TRIGGER"),
    "MAINTAIN": sql.SQL("MAINTAIN"),
    "EXECUTE": sql.SQL("EXECUTE"),
}
