"""The specs of the three kinds, as users write them.

The models parse documents that `validation` found no stalling error in. They keep
what a user wrote: a missing scalar is ``None`` (not managed), a missing list is empty.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from pg_operator.api.document import Document
from pg_operator.api.selectors import LabelSelector

GROUP: Final = "pg-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FINALIZER: Final = f"{GROUP}/finalizer"
WILDCARD: Final = "*"

Kind = Literal["DatabaseCluster", "Database", "DatabaseRole"]
PLURALS: Final[Mapping[Kind, str]] = {
    "DatabaseCluster": "databaseclusters",
    "Database": "databases",
    "DatabaseRole": "databaseroles",
}


RoleAttribute = Literal["CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS"]


class ClusterReference(Document):
    """Names a DatabaseCluster."""

    name: str


class ConnectionReference(Document):
    """Names the Secret that holds a DatabaseCluster's DSN."""

    name: str
    namespace: str | None = None
    key: str = "connection"


class PasswordReference(Document):
    """Names the Secret of the same namespace that holds a role's password."""

    name: str
    key: str = "password"


class ConnectionSecretReference(Document):
    """Names the Secret of the same namespace that applications connect from."""

    name: str
    database: str | None = None
    host: Literal["Server", "Service"] = "Server"


class AllowedNamespaces(Document):
    """Namespaces that something is open to."""

    from_: Literal["All", "Same", "None", "Names", "Selector"] = Field(alias="from")
    names: tuple[str, ...] = ()
    selector: LabelSelector | None = None

    def allows(
        self,
        namespace: str,
        *,
        labels: Mapping[str, str] | None,
        own: str | None = None,
    ) -> bool:
        """Tell whether a namespace is let in; None says that its labels are not known.

        `own` is what "Same" means.
        """
        match self.from_:
            case "All":
                return True
            case "Same":
                return namespace == own
            case "Names":
                return namespace in self.names
            case "Selector":
                return (
                    self.selector is not None
                    and labels is not None
                    and self.selector.matches(labels)
                )
            case "None":
                return False


class Adoptable(Document):
    """A database or role that objects of one namespace may take over."""

    name: str
    namespace: str


class Adoption(Document):
    """What objects with `adopt: true` may take over on a DatabaseCluster."""

    policy: Literal["Never", "Released", "Listed"]
    databases: tuple[Adoptable, ...] = ()
    roles: tuple[Adoptable, ...] = ()


class DatabaseClusterSpec(Document):
    """One PostgreSQL server."""

    connection: ConnectionReference
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces(from_="All")
    name_prefix: str | None = None
    allowed_memberships: tuple[str, ...] = ()
    allowed_owners: tuple[str, ...] = ()
    allowed_role_attributes: tuple[RoleAttribute, ...] = ()
    allowed_parameters: tuple[str, ...] = ()
    allowed_extensions: tuple[str, ...] = ()
    allowed_tablespaces: tuple[str, ...] = ()
    adoption: Adoption = Adoption(policy="Released")
    owner_id: str | None = None
    previous_owner_ids: tuple[str, ...] = ()
    expected_system_identifier: str | None = None
    max_connections: int = 4
    resync_interval: str = "10m"


class Schema(Document):
    """A schema that must exist in a Database.

    `creators` are the roles whose future objects in it a permission on `*` covers.
    """

    name: str
    owner: str | None = None
    creators: tuple[str, ...] = ()


class Extension(Document):
    """An extension that must exist in a Database."""

    name: str
    schema_name: str = Field(alias="schema")
    version: str | None = None


class DatabaseSpec(Document):
    """One database on a DatabaseCluster."""

    name: str
    database_cluster_ref: ClusterReference
    owner: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    schemas: tuple[Schema, ...] = ()
    encoding: str | None = None
    locale_provider: Literal["libc", "icu", "builtin"] | None = None
    locale: str | None = None
    template: str | None = None
    tablespace: str | None = None
    timezone: str | None = None
    parameters: Mapping[str, str] = Field(default_factory=dict)
    connection_limit: int | None = None
    extensions: tuple[Extension, ...] = ()
    database_service_name: str | None = None
    public_privileges: Literal["Revoke", "Keep"] | None = None
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces(from_="Same")
    adopt: bool | None = None
    deletion_policy: Literal["Retain", "Delete"] = "Retain"

    @property
    def all_schemas(self) -> tuple[Schema, ...]:
        """The schemas of either form, in the order written."""
        if self.schema_name is not None:
            return (Schema(name=self.schema_name),)
        return self.schemas

    @property
    def schema_names(self) -> tuple[str, ...]:
        """The names of the schemas of either form, in the order written."""
        return tuple(schema.name for schema in self.all_schemas)

    @property
    def named_roles(self) -> Mapping[str, str]:
        """Every role that the spec names, by the path that names it."""
        roles = {} if self.owner is None else {"spec.owner": self.owner}
        for schema in self.schemas:
            path = f"spec.schemas[{schema.name}]"
            if schema.owner is not None:
                roles[f"{path}.owner"] = schema.owner
            for creator in schema.creators:
                roles[f"{path}.creators[{creator}]"] = creator
        return roles


class ObjectPermission(Document):
    """Privileges on one object of a schema or table, or on all of a schema (`*`).

    The name of a function is its signature, as SQL writes it.
    """

    name: str
    privileges: tuple[str, ...] = ()
    grantable: tuple[str, ...] = ()


class TablePermission(ObjectPermission):
    """Privileges on one table and on columns of it, or on all tables (`*`)."""

    columns: tuple[ObjectPermission, ...] = ()


class SchemaPermission(Document):
    """Privileges on a schema and on what is in it."""

    name: str
    privileges: tuple[str, ...] = ()
    grantable: tuple[str, ...] = ()
    tables: tuple[TablePermission, ...] = ()
    except_tables: tuple[str, ...] = ()
    sequences: tuple[ObjectPermission, ...] = ()
    functions: tuple[ObjectPermission, ...] = ()
    types: tuple[ObjectPermission, ...] = ()


class Permission(Document):
    """Privileges on a database and on what is in it."""

    database: str
    privileges: tuple[str, ...] = ()
    grantable: tuple[str, ...] = ()
    parameters: Mapping[str, str] = Field(default_factory=dict)
    schemas: tuple[SchemaPermission, ...] = ()


class MemberOf(Document):
    """A role whose rights a DatabaseRole gets; an option that is None is implied."""

    role: str
    inherit: bool | None = None
    set_: bool | None = Field(default=None, alias="set")
    admin: bool | None = None


class DatabaseRoleSpec(Document):
    """One role on a DatabaseCluster, and what it may do."""

    role_name: str
    database_cluster_ref: ClusterReference
    password: PasswordReference | None = None
    generate_password: bool | None = None
    connection_secret: ConnectionSecretReference | None = None
    login: bool | None = None
    inherit: bool | None = None
    attributes: tuple[RoleAttribute, ...] = ()
    connection_limit: int | None = None
    valid_until: str | None = None
    parameters: Mapping[str, str] = Field(default_factory=dict)
    member_of: tuple[MemberOf, ...] = ()
    permissions: tuple[Permission, ...] = ()
    grants_policy: Literal["Additive", "Exact"] = "Additive"
    adopt: bool | None = None
    deletion_policy: Literal["Delete", "Disable", "Retain"] | None = None
    reassign_owned_to: str | None = None

    @property
    def declares_password(self) -> bool:
        """Whether the role is to have a password, from either source."""
        return self.password is not None or self.generate_password is True


SPECS: Final[Mapping[Kind, type[Document]]] = {
    "DatabaseCluster": DatabaseClusterSpec,
    "Database": DatabaseSpec,
    "DatabaseRole": DatabaseRoleSpec,
}
