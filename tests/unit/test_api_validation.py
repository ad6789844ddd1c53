"""What validation refuses, in which words, and what it lets pass with a warning."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pg_operator.api.validation import (
    Verdict,
    refusal,
    validate_database,
    validate_databasecluster,
    validate_databaserole,
)

Document = dict[str, Any]
MANY = 300
SELECTOR = "spec.allowedNamespaces.selector"


def cluster(**spec: object) -> Document:
    return {"spec": {"connection": {"name": "postgres-admin"}, **spec}}


def selecting(selector: object) -> Document:
    return cluster(allowedNamespaces={"from": "Selector", "selector": selector})


def database(**spec: object) -> Document:
    return {"spec": {"name": "orders", "databaseClusterRef": {"name": "main"}, **spec}}


def role(**spec: object) -> Document:
    return {"spec": {"roleName": "app", "databaseClusterRef": {"name": "main"}, **spec}}


def granted(privileges: object, *, schemas: object = None) -> Document:
    permission: Document = {"database": "orders", "privileges": privileges}
    if schemas is not None:
        permission["schemas"] = schemas
    return role(permissions=[permission])


def table(privileges: object, *, name: object = "invoices") -> Document:
    tables = [{"name": name, "privileges": privileges}]
    schema = {"name": "app", "privileges": ["USAGE"], "tables": tables}
    return granted(["CONNECT"], schemas=[schema])


def rules(verdict: Verdict) -> dict[str, str]:
    return {error.path: error.rule for error in verdict.errors}


@pytest.mark.parametrize(
    "document",
    [
        cluster(),
        cluster(connection={"name": "a", "namespace": "default", "key": "dsn"}),
        cluster(allowedNamespaces={"from": "Names", "names": ["shop"]}),
        selecting({}),
        selecting(
            {
                "matchLabels": {"kubernetes.io/metadata.name": "shop", "a": ""},
                "matchExpressions": [
                    {"key": "A.b_c-d", "operator": "NotIn", "values": ["x", ""]},
                    {"key": "example.org/team", "operator": "DoesNotExist"},
                ],
            }
        ),
        cluster(namePrefix="{namespace}_", maxConnections=1, resyncInterval="5s"),
        cluster(adoption={"policy": "Never"}, previousOwnerIds=["a-uid"]),
        cluster(expectedSystemIdentifier="7712113417124377960"),
        cluster(
            adoption={
                "policy": "Listed",
                "databases": [{"name": "Legacy", "namespace": "shop"}],
                "roles": [{"name": "app", "namespace": "shop"}],
            }
        ),
        cluster(allowedOwners=["platform_owner", "Legacy Owner", "pg_database_owner"]),
    ],
)
def test_cluster_is_accepted(document: Document) -> None:
    assert validate_databasecluster(document) == Verdict()


@pytest.mark.parametrize(
    "document",
    [
        database(),
        database(schema="app"),
        database(schemas=[{"name": "app"}, {"name": "audit"}]),
        database(encoding="UTF8", timezone="UTC", connectionLimit=-1),
        database(owner="Legacy Owner"),
        database(template="template1", tablespace="Fast", locale="en_US.utf8"),
        database(template="orders_template", localeProvider="icu", locale="de-DE"),
        database(
            extensions=[
                {"name": "uuid-ossp", "schema": "public"},
                {"name": "pg_trgm", "schema": "App", "version": "1.6"},
            ]
        ),
        database(parameters={"work_mem": "8MB", "pg_trgm.limit_1": ""}),
        database(schemas=[{"name": "app", "owner": "app", "creators": ["a", "b"]}]),
        database(databaseServiceName="orders-db", publicPrivileges="Keep"),
        database(allowedNamespaces={"from": "Same"}, deletionPolicy="Retain"),
    ],
)
def test_database_is_accepted(document: Document) -> None:
    assert validate_database(document) == Verdict()


@pytest.mark.parametrize(
    "document",
    [
        role(),
        role(password={"name": "app-password", "key": "PGPASSWORD"}),
        role(login=True),
        role(login=False, connectionLimit=5, deletionPolicy="Disable"),
        granted(["ALL"]),
        granted([]),
        table(["SELECT", "MAINTAIN"]),
        table(["ALL"], name="*"),
        table(["SELECT"], name="__EFMigrationsHistory"),
    ],
)
def test_role_is_accepted(document: Document) -> None:
    assert validate_databaserole(document) == Verdict()


@pytest.mark.parametrize(
    ("document", "broken"),
    [
        ({}, {"spec": "required"}),
        ({"spec": {}}, {"spec.connection": "required"}),
        (cluster(connection={}), {"spec.connection.name": "required"}),
        (cluster(connection=None), {"spec.connection": "type"}),
        (
            cluster(connection={"name": "A", "namespace": "b.c", "key": "d e"}),
            {
                "spec.connection.name": "secret-name",
                "spec.connection.namespace": "namespace-name",
                "spec.connection.key": "secret-key",
            },
        ),
        (
            cluster(adoption={"policy": "Released", "roles": []}),
            {"spec.adoption.roles": "list-unused"},
        ),
        (
            cluster(
                adoption={
                    "policy": "Listed",
                    "databases": [{"name": "a"}, {"name": "a", "namespace": "B"}],
                },
                ownerId="a\n",
                previousOwnerIds=["", "x", "x"],
            ),
            {
                "spec.adoption.databases[0].namespace": "required",
                "spec.adoption.databases[1].name": "duplicate",
                "spec.adoption.databases[1].namespace": "namespace-name",
                "spec.ownerId": "owner-id",
                "spec.previousOwnerIds[0]": "owner-id",
                "spec.previousOwnerIds[2]": "duplicate",
            },
        ),
        (
            cluster(expectedSystemIdentifier="0x1"),
            {"spec.expectedSystemIdentifier": "system-identifier"},
        ),
        (
            cluster(expectedSystemIdentifier=7712113417124377960),
            {"spec.expectedSystemIdentifier": "type"},
        ),
        (
            cluster(allowedTablespaces=["pg_global"]),
            {"spec.allowedTablespaces[0]": "name-reserved"},
        ),
        (cluster(adoption={}), {"spec.adoption.policy": "required"}),
        (
            cluster(allowedExtensions=["postgis", "a b"]),
            {"spec.allowedExtensions[1]": "extension-name"},
        ),
        (
            cluster(allowedParameters=["log_statement", "Log_Statement"]),
            {"spec.allowedParameters[1]": "parameter-name"},
        ),
        (
            cluster(allowedOwners=["a", "public", "a", "n\n", 5]),
            {
                "spec.allowedOwners[1]": "name-reserved",
                "spec.allowedOwners[2]": "duplicate",
                "spec.allowedOwners[3]": "name-characters",
                "spec.allowedOwners[4]": "type",
            },
        ),
        (cluster(maxConnections=0), {"spec.maxConnections": "range"}),
        (cluster(maxConnections=101), {"spec.maxConnections": "range"}),
        (cluster(maxConnections=True), {"spec.maxConnections": "type"}),
        (cluster(resyncInterval="soon"), {"spec.resyncInterval": "duration"}),
        (cluster(resyncInterval="1s"), {"spec.resyncInterval": "duration-range"}),
        (cluster(namePrefix="Team"), {"spec.namePrefix": "name-prefix"}),
        (
            cluster(allowedNamespaces={"from": "Same"}),
            {"spec.allowedNamespaces.from": "choice"},
        ),
        (
            cluster(allowedNamespaces={"from": "Names"}),
            {"spec.allowedNamespaces.names": "required"},
        ),
        (
            cluster(allowedNamespaces={"from": "All", "names": []}),
            {"spec.allowedNamespaces.names": "names-unused"},
        ),
        (
            cluster(allowedNamespaces={"from": "Selector"}),
            {"spec.allowedNamespaces.selector": "required"},
        ),
        (
            cluster(allowedNamespaces={"from": "All", "selector": {}}),
            {"spec.allowedNamespaces.selector": "names-unused"},
        ),
        (
            selecting(
                {
                    "matchLabels": {"example.org/": "a", "/a": "", "a": 1, "b": "-"},
                    "matchExpressions": [
                        {"key": "a", "operator": "in", "values": ["x"]},
                        {"key": "a", "operator": "In", "values": []},
                        {"key": "a", "operator": "Exists", "values": ["x", "y\n"]},
                        {"operator": "Exists"},
                        {"key": "a" * 64},
                        "a",
                    ],
                }
            ),
            {
                f"{SELECTOR}.matchLabels[example.org/]": "label",
                f"{SELECTOR}.matchLabels[/a]": "label",
                f"{SELECTOR}.matchLabels[a]": "type",
                f"{SELECTOR}.matchLabels[b]": "label",
                f"{SELECTOR}.matchExpressions[0].operator": "choice",
                f"{SELECTOR}.matchExpressions[1].values": "selector-values",
                f"{SELECTOR}.matchExpressions[2].values": "selector-values",
                f"{SELECTOR}.matchExpressions[2].values[1]": "label",
                f"{SELECTOR}.matchExpressions[3].key": "required",
                f"{SELECTOR}.matchExpressions[4].key": "label",
                f"{SELECTOR}.matchExpressions[4].operator": "required",
                f"{SELECTOR}.matchExpressions[5]": "type",
            },
        ),
        (
            cluster(allowedNamespaces={"from": "Names", "names": ["a", "B", "a"]}),
            {
                "spec.allowedNamespaces.names[1]": "namespace-name",
                "spec.allowedNamespaces.names[2]": "duplicate",
            },
        ),
    ],
)
def test_cluster_is_refused(document: Document, broken: Mapping[str, str]) -> None:
    assert rules(validate_databasecluster(document)) == broken


@pytest.mark.parametrize(
    ("document", "broken"),
    [
        (
            {"spec": {}},
            {"spec.name": "required", "spec.databaseClusterRef": "required"},
        ),
        ({"spec": []}, {"spec": "type"}),
        (database(name="Orders"), {"spec.name": "name-pattern"}),
        (database(name="postgres"), {"spec.name": "name-reserved"}),
        (database(name=2024), {"spec.name": "type"}),
        (
            database(databaseClusterRef={"name": "Main"}),
            {"spec.databaseClusterRef.name": "cluster-name"},
        ),
        (database(databaseClusterRef="main"), {"spec.databaseClusterRef": "type"}),
        (
            database(schema="a", schemas=[{"name": "b"}]),
            {"spec.schema": "schema-xor-schemas"},
        ),
        (
            database(schemas=[{"name": "a"}, {"name": "a"}, {}, {"name": "pg_a"}, "a"]),
            {
                "spec.schemas[1].name": "duplicate",
                "spec.schemas[2].name": "required",
                "spec.schemas[3].name": "name-reserved",
                "spec.schemas[4]": "type",
            },
        ),
        (
            database(
                extensions=[
                    {"name": "a--b", "schema": "pg_catalog", "version": "1;"},
                    {"name": "x"},
                    {"name": "x", "schema": ""},
                ]
            ),
            {
                "spec.extensions[0].name": "extension-name",
                "spec.extensions[0].schema": "system-schema",
                "spec.extensions[0].version": "extension-version",
                "spec.extensions[1].schema": "required",
                "spec.extensions[2].name": "duplicate",
                "spec.extensions[2].schema": "name-length",
            },
        ),
        (database(adopt="yes"), {"spec.adopt": "type"}),
        (
            database(
                template="postgres", tablespace="pg_global", localeProvider="builtin"
            ),
            {
                "spec.template": "name-reserved",
                "spec.tablespace": "name-reserved",
                "spec.locale": "required",
            },
        ),
        (
            database(localeProvider="glibc", locale="C; --"),
            {"spec.localeProvider": "choice", "spec.locale": "locale"},
        ),
        (database(parameters=[]), {"spec.parameters": "type"}),
        (database(parameters={"a\n": ""}), {"spec.parameters": "parameter-name"}),
        (
            database(
                parameters={"TimeZone": "UTC", "a b": "", "jit": False, "c": "1\n2"}
            ),
            {
                "spec.parameters[TimeZone]": "parameter-name",
                "spec.parameters[a b]": "parameter-name",
                "spec.parameters[jit]": "type",
                "spec.parameters[c]": "parameter-value",
            },
        ),
        (
            database(parameters={f"p{n}": "x" * (1020 + n) for n in range(65)}),
            {
                "spec.parameters": "too-many",
                **{f"spec.parameters[p{n}]": "parameter-value" for n in range(5, 64)},
            },
        ),
        (
            database(timezone="UTC", parameters={"timezone": "UTC"}),
            {"spec.timezone": "timezone-twice"},
        ),
        (database(owner="public"), {"spec.owner": "name-reserved"}),
        (
            database(
                schemas=[{"name": "a", "owner": "none", "creators": ["", "x", "x"]}]
            ),
            {
                "spec.schemas[0].owner": "name-reserved",
                "spec.schemas[0].creators[0]": "name-length",
                "spec.schemas[0].creators[2]": "duplicate",
            },
        ),
        (database(encoding="UTF-8"), {"spec.encoding": "encoding"}),
        (database(timezone="UTC;"), {"spec.timezone": "timezone"}),
        (database(connectionLimit=-2), {"spec.connectionLimit": "range"}),
        (database(connectionLimit=2**31), {"spec.connectionLimit": "range"}),
        (database(connectionLimit=1.5), {"spec.connectionLimit": "type"}),
        (
            database(databaseServiceName="kubernetes"),
            {"spec.databaseServiceName": "service-reserved"},
        ),
        (
            database(databaseServiceName="Orders"),
            {"spec.databaseServiceName": "service-name"},
        ),
        (database(publicPrivileges="revoke"), {"spec.publicPrivileges": "choice"}),
        (database(deletionPolicy="Drop"), {"spec.deletionPolicy": "choice"}),
        (
            database(allowedNamespaces={}),
            {"spec.allowedNamespaces.from": "required"},
        ),
    ],
)
def test_database_is_refused(document: Document, broken: Mapping[str, str]) -> None:
    assert rules(validate_database(document)) == broken


PRIVILEGE = "spec.permissions[0].schemas[0].tables[0].privileges"


@pytest.mark.parametrize(
    ("document", "broken"),
    [
        (role(roleName="pg_app"), {"spec.roleName": "name-reserved"}),
        (role(roleName="public"), {"spec.roleName": "name-reserved"}),
        (role(password="secret"), {"spec.password": "type"}),
        (
            role(password={"name": "A B", "key": "?"}),
            {"spec.password.name": "secret-name", "spec.password.key": "secret-key"},
        ),
        (role(login="yes"), {"spec.login": "type"}),
        (role(adopt="yes"), {"spec.adopt": "type"}),
        (role(deletionPolicy="Drop"), {"spec.deletionPolicy": "choice"}),
        (role(permissions={}), {"spec.permissions": "type"}),
        (role(permissions=None), {"spec.permissions": "type"}),
        (
            role(permissions=[{"database": "a"}, {"database": "a"}, {}, 7]),
            {
                "spec.permissions[1].database": "duplicate",
                "spec.permissions[2].database": "required",
                "spec.permissions[3]": "type",
            },
        ),
        (
            role(permissions=[{"database": "template1"}, {"database": "a\n"}]),
            {
                "spec.permissions[0].database": "name-reserved",
                "spec.permissions[1].database": "name-characters",
            },
        ),
        (
            granted(
                ["CONNECT"],
                schemas=[
                    {"name": "pg_catalog"},
                    {"name": "information_schema"},
                    {"name": "é" * 32},
                    {"name": "app", "privileges": "USAGE", "tables": [{"name": ""}]},
                ],
            ),
            {
                "spec.permissions[0].schemas[0].name": "system-schema",
                "spec.permissions[0].schemas[1].name": "system-schema",
                "spec.permissions[0].schemas[2].name": "name-length",
                "spec.permissions[0].schemas[3].privileges": "type",
                "spec.permissions[0].schemas[3].tables[0].name": "name-length",
            },
        ),
        (
            table(["SELCT", "select", "USAGE", 5, "INSERT", "INSERT"]),
            {
                f"{PRIVILEGE}[0]": "privilege",
                f"{PRIVILEGE}[1]": "privilege",
                f"{PRIVILEGE}[2]": "privilege",
                f"{PRIVILEGE}[3]": "type",
                f"{PRIVILEGE}[5]": "duplicate",
            },
        ),
        (table(["ALL", "SELECT"]), {PRIVILEGE: "all-alone"}),
        (table(["ALL", "ALL"]), {f"{PRIVILEGE}[1]": "duplicate"}),
    ],
)
def test_role_is_refused(document: Document, broken: Mapping[str, str]) -> None:
    assert rules(validate_databaserole(document)) == broken


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (
            role(permissions=[{"database": f"d{i}"} for i in range(MANY)]),
            "spec.permissions",
        ),
        (
            granted(["CONNECT"], schemas=[{"name": f"s{i}"} for i in range(MANY)]),
            "spec.permissions[0].schemas",
        ),
        (
            granted(
                ["CONNECT"],
                schemas=[
                    {"name": "app", "tables": [{"name": f"t{i}"} for i in range(MANY)]}
                ],
            ),
            "spec.permissions[0].schemas[0].tables",
        ),
    ],
)
def test_list_that_is_too_long_is_refused(document: Document, path: str) -> None:
    assert rules(validate_databaserole(document)) == {path: "too-many"}


def test_errors_are_told_all_at_once_in_the_order_of_the_fields() -> None:
    document = database(name="Orders", timezone="UTC;", connectionLimit=-2)
    assert refusal(validate_database(document).errors) == (
        '[spec.name: Invalid value: "Orders": must be 1-63 characters of '
        "'a-z', '0-9', '_', '$' and '-', and start with a letter or '_'; "
        "try 'orders', "
        'spec.timezone: Invalid value: "UTC;": must be the name of a time zone, '
        "such as 'UTC' or 'Europe/Berlin', "
        "spec.connectionLimit: Invalid value: -2: must be -1 (no limit) or a number "
        "up to 2147483647]"
    )


def test_error_names_its_place_by_list_keys_too() -> None:
    (error,) = validate_databaserole(table(["SELCT"])).errors
    assert error.key == (
        "spec.permissions[orders].schemas[app].tables[invoices].privileges[SELCT]"
    )


@pytest.mark.parametrize(
    "document",
    [
        role(password="hunter2-Secret"),
        role(password={"name": "hunter2-Secret"}),
        role(password={"name": "a", "key": "hunter2-Secret!"}),
        role(password=["hunter2-Secret"]),
        role(password={"name": ["hunter2-Secret"]}),
    ],
)
def test_password_in_the_wrong_place_is_not_repeated(document: Document) -> None:
    verdict = validate_databaserole(document)
    assert verdict.errors
    assert "hunter2" not in repr(verdict)


@pytest.mark.parametrize(
    "connection",
    [
        "postgresql://u:hunter2@h",
        {"name": "postgresql://u:hunter2@h"},
        {"name": "a", "key": "password=hunter2 host=h"},
        {"name": "a", "namespace": "postgresql://u:hunter2@h"},
    ],
)
def test_dsn_in_the_wrong_place_is_not_repeated(connection: object) -> None:
    verdict = validate_databasecluster(cluster(connection=connection))
    assert verdict.errors
    assert "hunter2" not in repr(verdict)


@pytest.mark.parametrize(
    ("validate", "old", "new", "path"),
    [
        (validate_database, database(), database(name="x"), "spec.name"),
        (
            validate_database,
            database(),
            database(databaseClusterRef={"name": "x"}),
            "spec.databaseClusterRef.name",
        ),
        (
            validate_database,
            database(encoding="UTF8"),
            database(encoding="LATIN1"),
            "spec.encoding",
        ),
        (validate_databaserole, role(), role(roleName="x"), "spec.roleName"),
        (
            validate_databaserole,
            role(),
            role(databaseClusterRef={"name": "x"}),
            "spec.databaseClusterRef.name",
        ),
    ],
)
def test_what_names_an_object_may_not_be_changed(
    validate: Callable[..., Verdict], old: Document, new: Document, path: str
) -> None:
    (error,) = validate(new, old=old).errors
    assert (error.path, error.rule) == (path, "immutable")
    assert error.message.startswith("Forbidden: may not be changed; create a new ")


def test_encoding_may_be_declared_later_and_no_longer() -> None:
    plain, declared = database(), database(encoding="UTF8")
    assert validate_database(declared, old=plain) == Verdict()
    assert validate_database(plain, old=declared) == Verdict()


def test_error_that_was_there_before_becomes_a_warning() -> None:
    old = table(["SELCT"])
    new = copy.deepcopy(old)
    new["spec"]["connectionLimit"] = 5
    verdict = validate_databaserole(new, old=old)
    assert verdict.errors == ()
    assert [warning.split(":")[0] for warning in verdict.warnings] == [
        f"{PRIVILEGE}[0]"
    ]


def test_error_that_moved_with_its_entry_is_still_the_old_one() -> None:
    old = table(["SELCT"])
    new = copy.deepcopy(old)
    new["spec"]["permissions"].insert(0, {"database": "billing"})
    assert validate_databaserole(new, old=old).errors == ()


def test_error_of_another_value_at_the_same_place_is_a_new_one() -> None:
    old, new = database(timezone="UTC;"), database(timezone="GMT;")
    assert rules(validate_database(new, old=old)) == {"spec.timezone": "timezone"}


def test_error_beside_an_old_one_is_refused() -> None:
    verdict = validate_databaserole(table(["SELCT", "INSRT"]), old=table(["SELCT"]))
    assert rules(verdict) == {f"{PRIVILEGE}[1]": "privilege"}


@pytest.mark.parametrize(
    ("validate", "document", "warning"),
    [
        (
            validate_database,
            database(schema="public"),
            (
                "spec.schema: schema 'public' is in every database; "
                "before PostgreSQL 15 every role may create objects in it"
            ),
        ),
        (
            validate_database,
            database(deletionPolicy="Delete"),
            (
                "spec.deletionPolicy: deleting this object will drop the database "
                "with all its data"
            ),
        ),
        (
            validate_databaserole,
            role(deletionPolicy="Delete"),
            (
                "spec.deletionPolicy: deleting this object will drop the role; what it "
                "owns is kept, by a role that nobody can log in as, unless "
                "`reassignOwnedTo` names another"
            ),
        ),
        (
            validate_databaserole,
            granted(
                ["CONNECT"],
                schemas=[
                    {"name": "app", "tables": [{"name": "*", "privileges": ["ALL"]}]}
                ],
            ),
            (
                "spec.permissions[0].schemas[0]: privileges on tables have no effect "
                "without USAGE on the schema"
            ),
        ),
        (
            validate_databaserole,
            {
                "spec": {
                    **role(login=True)["spec"],
                    "permissions": [
                        {
                            "database": "orders",
                            "schemas": [{"name": "app", "privileges": ["USAGE"]}],
                        }
                    ],
                }
            },
            "spec.permissions[0]: these have no effect without CONNECT on the database",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(
    validate: Callable[..., Verdict], document: Document, warning: str
) -> None:
    assert validate(document) == Verdict(warnings=(warning,))


def test_warning_is_not_repeated_on_an_unrelated_change() -> None:
    old = database(deletionPolicy="Delete")
    new = database(deletionPolicy="Delete", timezone="UTC")
    assert validate_database(new, old=old) == Verdict()


def test_group_role_may_hold_privileges_without_connect() -> None:
    schemas = [{"name": "app", "privileges": ["USAGE"]}]
    assert validate_databaserole(granted([], schemas=schemas)) == Verdict()


def test_role_may_be_a_member_of_others() -> None:
    entries = [
        {"role": "auditors"},
        {"role": "Legacy Team", "inherit": False, "set": True, "admin": True},
        {"role": "pg_monitor"},
    ]
    assert validate_databaserole(role(memberOf=entries)) == Verdict()


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ({"role": "app"}, "member-of-itself"),
        ({"role": "pg_execute_server_program"}, "host-role"),
        ({"role": "pg_read_server_files"}, "host-role"),
        ({"role": "pg_write_server_files"}, "host-role"),
        ({"role": "postgres"}, "name-reserved"),
        ({"role": "public"}, "name-reserved"),
        ({"role": "none"}, "name-reserved"),
        ({"role": "line\nbreak"}, "name-characters"),
        ({"role": "é" * 32}, "name-length"),
    ],
)
def test_role_that_nobody_may_join_is_refused(entry: Document, rule: str) -> None:
    path = "spec.memberOf[0].role"
    assert rules(validate_databaserole(role(memberOf=[entry]))) == {path: rule}


def test_cluster_cannot_open_what_leads_to_the_servers_host() -> None:
    refused = validate_databasecluster(
        cluster(allowedMemberships=["pg_read_server_files", "staff", "staff"])
    )
    assert rules(refused) == {
        "spec.allowedMemberships[0]": "host-role",
        "spec.allowedMemberships[2]": "duplicate",
    }


def test_cluster_that_opens_the_password_hashes_is_warned() -> None:
    verdict = validate_databasecluster(cluster(allowedMemberships=["pg_read_all_data"]))
    assert verdict.errors == ()
    assert "password hashes" in verdict.warnings[0]


def test_role_may_have_properties() -> None:
    document = role(
        inherit=False,
        attributes=["CREATEDB", "BYPASSRLS"],
        validUntil="2027-01-31T22:00:00+02:00",
        parameters={"work_mem": "64MB", "my.setting": ""},
    )
    assert validate_databaserole(document) == Verdict()
    assert validate_databaserole(role(validUntil="infinity")) == Verdict()


@pytest.mark.parametrize(
    ("spec", "path", "rule"),
    [
        ({"attributes": ["SUPERUSER"]}, "spec.attributes[0]", "superuser"),
        ({"attributes": ["createdb"]}, "spec.attributes[0]", "choice"),
        (
            {"attributes": ["CREATEDB", "CREATEDB"]},
            "spec.attributes[1]",
            "duplicate",
        ),
        ({"validUntil": "2027-01-31"}, "spec.validUntil", "valid-until"),
        ({"validUntil": "2027-02-30T00:00:00Z"}, "spec.validUntil", "valid-until"),
        ({"validUntil": "tomorrow"}, "spec.validUntil", "valid-until"),
        (
            {"parameters": {"Work_Mem": "1"}},
            "spec.parameters[Work_Mem]",
            "parameter-name",
        ),
        (
            {"parameters": {"work_mem": "1\n"}},
            "spec.parameters[work_mem]",
            "parameter-value",
        ),
        ({"parameters": {"work_mem": 64}}, "spec.parameters[work_mem]", "type"),
        (
            {"permissions": [{"database": "shop", "parameters": {"a-b": ""}}]},
            "spec.permissions[0].parameters[a-b]",
            "parameter-name",
        ),
    ],
)
def test_property_that_no_role_can_have_is_refused(
    spec: Document, path: str, rule: str
) -> None:
    assert rules(validate_databaserole(role(**spec))) == {path: rule}


def test_cluster_cannot_open_what_makes_a_superuser() -> None:
    refused = validate_databasecluster(
        cluster(
            allowedRoleAttributes=["SUPERUSER", "CREATEROLE"],
            allowedParameters=["log_statement", "Log"],
        )
    )
    assert rules(refused) == {
        "spec.allowedRoleAttributes[0]": "superuser",
        "spec.allowedParameters[1]": "parameter-name",
    }
    assert "take over" in refused.warnings[0]


@pytest.mark.parametrize(
    ("privileges", "grantable", "allowed"),
    [
        (["SELECT", "INSERT"], ["SELECT"], True),
        (["ALL"], ["SELECT"], True),
        (["ALL"], ["ALL"], True),
        (["SELECT"], ["INSERT"], False),
        (["SELECT"], ["ALL"], False),
        ([], ["SELECT"], False),
    ],
)
def test_only_what_is_granted_can_be_grantable(
    *, privileges: list[str], grantable: list[str], allowed: bool
) -> None:
    entry = {"name": "a", "privileges": privileges, "grantable": grantable}
    schema = {"name": "app", "privileges": ["USAGE"], "tables": [entry]}
    verdict = validate_databaserole(granted(["CONNECT"], schemas=[schema]))
    path = "spec.permissions[0].schemas[0].tables[0].grantable"
    assert rules(verdict) == ({} if allowed else {path: "grantable"})


def test_tables_left_out_are_named_once_and_of_a_wildcard() -> None:
    schema: Document = {
        "name": "app",
        "privileges": ["USAGE"],
        "tables": [{"name": "a", "privileges": ["SELECT"]}],
        "exceptTables": ["secret", "*", "secret"],
    }
    verdict = validate_databaserole(granted(["CONNECT"], schemas=[schema]))
    under = "spec.permissions[0].schemas[0].exceptTables"
    assert rules(verdict) == {
        f"{under}[1]": "except-wildcard",
        f"{under}[2]": "duplicate",
    }
    assert verdict.warnings == (f"{under}: has no effect without the table '*'",)


GENERATED: Document = {
    "generatePassword": True,
    "connectionSecret": {"name": "app-connection", "database": "orders"},
}


@pytest.mark.parametrize(
    "spec",
    [
        GENERATED,
        {
            "password": {"name": "app-password"},
            "connectionSecret": {"name": "app", "host": "Service"},
            "permissions": [{"database": "orders"}],
        },
        {"generatePassword": False, "password": {"name": "app-password"}},
    ],
)
def test_role_may_be_published(spec: Document) -> None:
    assert validate_databaserole(role(**spec)) == Verdict()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {**GENERATED, "password": {"name": "app-password"}},
            {"spec.generatePassword": "generate-xor-password"},
        ),
        ({"generatePassword": True}, {"spec.connectionSecret": "required"}),
        (
            {"connectionSecret": GENERATED["connectionSecret"]},
            {"spec.connectionSecret": "secret-without-password"},
        ),
        (
            {
                "password": {"name": "same"},
                "connectionSecret": {"name": "same", "database": "orders"},
            },
            {"spec.connectionSecret.name": "secret-twice"},
        ),
        (
            {"generatePassword": True, "connectionSecret": {"name": "app"}},
            {"spec.connectionSecret.database": "required"},
        ),
        (
            {
                "generatePassword": True,
                "connectionSecret": {
                    "name": "postgresql://user:secret@host",
                    "database": "a\n",
                    "host": "server",
                },
            },
            {
                "spec.connectionSecret.name": "secret-name",
                "spec.connectionSecret.database": "name-characters",
                "spec.connectionSecret.host": "choice",
            },
        ),
    ],
)
def test_publication_that_makes_no_sense_is_refused(
    spec: Document, expected: dict[str, str]
) -> None:
    assert rules(validate_databaserole(role(**spec))) == expected


def test_successor_of_a_role_is_another_role_that_deletion_asks_for() -> None:
    whole = role(deletionPolicy="Delete", reassignOwnedTo="owner")
    assert validate_databaserole(whole) == Verdict()
    for name, rule in (
        ("app", "successor-of-itself"),
        ("postgres", "name-reserved"),
        ("Owner", "name-pattern"),
    ):
        refused = validate_databaserole(
            role(deletionPolicy="Delete", reassignOwnedTo=name)
        )
        assert rules(refused) == {"spec.reassignOwnedTo": rule}
    (warning,) = validate_databaserole(role(reassignOwnedTo="owner")).warnings
    assert "has no effect unless" in warning
