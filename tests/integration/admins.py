"""The logins that cloud providers hand out, as far as SQL can make them.

Each is no superuser and a member of the provider's own role, beside the provider's
superuser and a database that nobody else may enter. What their servers patch in C
(RDS and Cloud SQL do) cannot be played here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import conninfo, sql

from tests.localcluster.postgres import PostgresServer

PASSWORD = "an administrator's"


@dataclass(frozen=True, slots=True)
class Provider:
    """What one provider calls its roles and its database."""

    admin: str
    group: str
    superuser: str
    database: str
    predefined: tuple[str, ...]
    group_attributes: str = "NOLOGIN"
    admin_attributes: str = "CREATEDB CREATEROLE"


PROVIDERS: Mapping[str, Provider] = {
    "rds": Provider(
        admin="rds_master",
        group="rds_superuser",
        superuser="rdsadmin",
        database="rdsadmin",
        predefined=("pg_monitor", "pg_signal_backend"),
        admin_attributes="CREATEDB CREATEROLE VALID UNTIL 'infinity'",
    ),
    "cloud-sql": Provider(
        admin="cloudsql_user",
        group="cloudsqlsuperuser",
        superuser="cloudsqladmin",
        database="cloudsqladmin",
        predefined=("pg_monitor", "pg_signal_backend"),
        group_attributes="NOLOGIN CREATEDB CREATEROLE",
    ),
    "azure": Provider(
        admin="azure_user",
        group="azure_pg_admin",
        superuser="azuresu",
        database="azure_maintenance",
        predefined=("pg_monitor", "pg_read_all_settings"),
    ),
}


def create_provider(server: PostgresServer, provider: Provider) -> str:
    """Make a provider's roles and database once a server; return its admin's DSN."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        known = connection.execute(
            "SELECT FROM pg_roles WHERE rolname = %s", (provider.admin,)
        )
        if not known.fetchall():
            for statement in _statements(provider):
                connection.execute(sql.SQL(statement))
    return conninfo.make_conninfo(
        server.admin_dsn, user=provider.admin, password=PASSWORD
    )


def _statements(provider: Provider) -> tuple[str, ...]:
    quoted = PASSWORD.replace("'", "''")
    return (
        f"CREATE ROLE {provider.superuser} SUPERUSER LOGIN PASSWORD '{quoted}'",
        f"CREATE DATABASE {provider.database} OWNER {provider.superuser}",
        f"REVOKE ALL ON DATABASE {provider.database} FROM PUBLIC",
        f"CREATE ROLE {provider.group} {provider.group_attributes}",
        *(f"GRANT {role} TO {provider.group}" for role in provider.predefined),
        (
            f"CREATE ROLE {provider.admin} LOGIN {provider.admin_attributes}"
            f" PASSWORD '{quoted}' IN ROLE {provider.group}"
        ),
    )
