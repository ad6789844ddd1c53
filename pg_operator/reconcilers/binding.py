"""A role's password and the Secret from which applications connect as the role."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.api.secret import SecretText
from pg_operator.api.specs import (
    GROUP,
    ConnectionSecretReference,
    DatabaseRoleSpec,
    PasswordReference,
)
from pg_operator.kube.connections import (
    ConnectionDetails,
    ConnectionOwner,
    ConnectionSecret,
    ForeignSecret,
    apply_connection,
    remove_connection,
)
from pg_operator.kube.errors import Invalid, NamespaceTerminating
from pg_operator.kube.secrets import SecretError, SecretKeyNotFound
from pg_operator.plan.state import Password
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key, Object, annotation_of, is_deleting
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.servers import Link

ROTATE: Final = f"{GROUP}/rotate"
PASSWORD_BYTES: Final = 24  # 32 characters that need no quoting anywhere


async def read_password(
    context: Context, key: Key, role: Object, spec: DatabaseRoleSpec
) -> Password | Blocked | None:
    """Return the password that is declared now, or why it cannot be read.

    None when none is declared, or none is generated yet.
    """
    if spec.password is not None:
        return await _read_declared(context, key, spec, spec.password)
    secret = await _read_published(context, key, role, spec)
    if secret is None or isinstance(secret, Blocked):
        return secret
    text = secret.password
    return None if text is None else _password(context, spec, text)


async def foresee_password(
    context: Context, key: Key, role: Object, spec: DatabaseRoleSpec, link: Link
) -> Password | Blocked | None:
    """Return the password that `reconcile_binding` would, and write nothing.

    One that it would generate is like no other, and has no text.
    """
    if spec.password is not None or spec.connection_secret is None:
        return await read_password(context, key, role, spec)
    secret = await _read_published(context, key, role, spec)
    if isinstance(secret, Blocked):
        return secret
    text = None if secret is None else secret.password
    details = _details(context, key, spec, spec.connection_secret, link)
    if text is None and isinstance(details, Blocked):
        return details
    is_due = _is_due(secret, annotation_of(role, ROTATE)) and not isinstance(
        details, Blocked
    )
    if text is None or is_due:
        return Password("")
    return _password(context, spec, text)


async def _read_published(
    context: Context, key: Key, role: Object, spec: DatabaseRoleSpec
) -> ConnectionSecret | Blocked | None:
    """Return the Secret with a generated password, if there is one by now."""
    if spec.generate_password is not True or spec.connection_secret is None:
        return None
    try:
        return await ConnectionSecret.read(
            context.kubernetes, _owner(key, role), spec.connection_secret.name
        )
    except ForeignSecret:
        return _conflict(spec.connection_secret)


@dataclass(frozen=True, slots=True)
class Binding:
    """A role's password, the Secret it is published in, and why it is not."""

    password: Password | Blocked | None
    secret: str | None = None
    problem: Blocked | None = None


async def reconcile_binding(
    context: Context, key: Key, role: Object, spec: DatabaseRoleSpec, link: Link
) -> Binding:
    """Make the connection Secret true, and return the role's password.

    A generated password is made here, and stored in the Secret before the server is
    told: the Secret is its only truth. One that left the spec is removed.
    """
    wanted = spec.connection_secret
    owner = _owner(key, role)
    had = (role.get("status", {}).get("binding") or {}).get("name")
    if had is not None and (wanted is None or wanted.name != had):
        await remove_connection(context.kubernetes, owner=owner, name=had)
    declared: Password | Blocked | None = None
    if spec.password is not None:
        declared = await _read_declared(context, key, spec, spec.password)
    if wanted is None:
        return Binding(declared)
    try:
        stored = await ConnectionSecret.read(context.kubernetes, owner, wanted.name)
    except ForeignSecret:
        conflict = _conflict(wanted)
        told = conflict if spec.password is None else declared
        return Binding(told, problem=conflict)
    # What is there stays known, whatever comes now: it is removed by its name.
    published = None if stored is None else wanted.name
    details = _details(context, key, spec, wanted, link)
    if isinstance(details, Blocked):
        if stored is not None and stored.password is not None and declared is None:
            declared = _password(context, spec, stored.password)
        told = details if declared is None else declared
        return Binding(told, published, details)
    rotate = annotation_of(role, ROTATE)
    password = declared
    if spec.password is None:
        password = _password(context, spec, _generated(stored, rotate))
    if not isinstance(password, Password) or password.text is None:
        return Binding(password, published)
    problem = await _publish(
        context,
        owner,
        wanted,
        replace(details, password=password.text),
        rotate=rotate,
        over=stored,
    )
    if problem is None:
        return Binding(password, wanted.name)
    # What is not in the Secret yet is told to nobody, the server included.
    told = problem if spec.password is None else password
    return Binding(told, published, problem)


async def _publish(
    context: Context,
    owner: ConnectionOwner,
    wanted: ConnectionSecretReference,
    details: ConnectionDetails,
    *,
    rotate: str | None,
    over: ConnectionSecret | None,
) -> Blocked | None:
    """Write the Secret where it differs, and return why it cannot be written."""
    known = None if over is None else over.rotated_for
    try:
        await apply_connection(
            context.kubernetes,
            owner=owner,
            name=wanted.name,
            details=details,
            rotated_for=known if rotate is None else rotate,
            over=over,
        )
    except NamespaceTerminating:
        message = f"Namespace '{owner.namespace}' is being deleted; it takes no Secret"
        return Blocked(Reason.WAITING_FOR_REFERENCES, message)
    except Invalid as error:
        return _refused(wanted, error)
    return None


def _generated(stored: ConnectionSecret | None, rotate: str | None) -> SecretText:
    """Return the password in the Secret, or a new one where a new one is due."""
    text = None if stored is None else stored.password
    if text is not None and not _is_due(stored, rotate):
        return text
    return SecretText(secrets.token_urlsafe(PASSWORD_BYTES))


def _is_due(stored: ConnectionSecret | None, rotate: str | None) -> bool:
    return stored is not None and rotate not in {None, stored.rotated_for}


def _details(
    context: Context,
    key: Key,
    spec: DatabaseRoleSpec,
    wanted: ConnectionSecretReference,
    link: Link,
) -> ConnectionDetails | Blocked:
    """Return what stands in the Secret but the password, or why that is not known."""
    databases = [permission.database for permission in spec.permissions]
    database = wanted.database or databases[0]
    hosts, ports, sslmode = link.dsn.hosts, link.dsn.ports, link.dsn.sslmode
    if wanted.host == "Service":
        services = sorted(_services(context, key, spec, database))
        if not services:
            return Blocked(
                Reason.DATABASE_NOT_FOUND,
                f"spec.connectionSecret.host: no Database '{database}' of this "
                "namespace has a databaseServiceName; declare one, or use `host: "
                "Server`",
            )
        hosts, ports = (f"{services[0]}.{key.namespace}.svc",), ports[:1]
        # The server's certificate does not have the name of the Service.
        sslmode = "verify-ca" if sslmode == "verify-full" else sslmode
    return ConnectionDetails(
        hosts=hosts,
        ports=ports,
        username=spec.role_name,
        password=SecretText(""),
        database=database,
        sslmode=sslmode,
        ca=link.dsn.ca,
    )


def _services(
    context: Context, key: Key, spec: DatabaseRoleSpec, database: str
) -> Iterator[str]:
    """Find the Services in a role's namespace that Databases of that name declare."""
    cluster = spec.database_cluster_ref.name
    for candidate in context.objects.named("Database", cluster, database):
        is_near = candidate["metadata"]["namespace"] == key.namespace
        is_named = candidate["spec"].get("name") == database
        service = candidate["spec"].get("databaseServiceName")
        if is_near and is_named and service and not is_deleting(candidate):
            yield service


async def _read_declared(
    context: Context, key: Key, spec: DatabaseRoleSpec, reference: PasswordReference
) -> Password | Blocked:
    """Read the Secret that a role's author keeps."""
    secret = await context.kubernetes.read_secret(key.namespace, reference.name)
    if secret is None:
        return Blocked(
            Reason.SECRET_NOT_FOUND,
            f"spec.password.name: Secret '{reference.name}' does not exist in this "
            f"namespace; create it with the password under key '{reference.key}'",
        )
    try:
        text = secret.text(reference.key)
    except SecretKeyNotFound as error:
        return Blocked(Reason.SECRET_KEY_NOT_FOUND, f"spec.password: {error}")
    except SecretError as error:
        return Blocked(Reason.INVALID_PASSWORD, f"spec.password: {error}")
    if "\0" in text.reveal():
        return Blocked(
            Reason.INVALID_PASSWORD,
            f"spec.password: key '{reference.key}' of Secret '{reference.name}' has "
            "a NUL character in it, which PostgreSQL takes in no password",
        )
    return _password(context, spec, text)


def _password(context: Context, spec: DatabaseRoleSpec, text: SecretText) -> Password:
    return Password(context.keyring.fingerprint(text, role=spec.role_name), text)


def _owner(key: Key, role: Object) -> ConnectionOwner:
    return ConnectionOwner(key.namespace, key.name, role["metadata"]["uid"])


def _conflict(wanted: ConnectionSecretReference) -> Blocked:
    return Blocked(
        Reason.SECRET_CONFLICT,
        f"spec.connectionSecret.name: Secret '{wanted.name}' exists and was not made "
        "for this DatabaseRole, so it is left as it is; choose another name, or delete "
        "that Secret",
    )


def _refused(wanted: ConnectionSecretReference, error: Invalid) -> Blocked:
    fields = ", ".join(error.fields) or "see the controller's log"
    return Blocked(
        Reason.SECRET_CONFLICT,
        f"spec.connectionSecret.name: the API server refuses Secret '{wanted.name}' as "
        f"it is to be ({fields}); delete that Secret, or choose another name",
    )
