"""What a server holds is exported, applied, taken over and given back unchanged."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from pg_operator.cli.main import main
from tests.cluster.objects import administer, documents, dsn_secret
from tests.integration.existing import state_of_server
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.postgres import ADMIN


@pytest.fixture
def legacy(cluster: LocalCluster, namespace: str) -> Iterator[str]:
    """A database with an owner and a reader, made by hand; return its name."""
    name = f"{namespace}_legacy"
    owner, reader = f"{name}_owner", f"{name}_reader"
    administer(
        cluster,
        "postgres",
        f"CREATE ROLE {owner}",
        f"CREATE ROLE {reader} LOGIN PASSWORD 'by hand' CONNECTION LIMIT 3",
        f"GRANT {owner}, {reader} TO {ADMIN} WITH ADMIN OPTION",
        f"CREATE DATABASE {name} OWNER {owner}",
        f"GRANT CONNECT ON DATABASE {name} TO {reader}",
        f"ALTER ROLE {reader} IN DATABASE {name} SET work_mem TO '8MB'",
    )
    administer(
        cluster,
        name,
        f"SET ROLE {owner}",
        "CREATE SCHEMA app",
        'CREATE TABLE app."User" (x int, y int)',
        f"GRANT USAGE ON SCHEMA app TO {reader}",
        f'GRANT SELECT, UPDATE (x, y) ON app."User" TO {reader}',
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {reader}",
    )
    yield name
    administer(
        cluster,
        "postgres",
        f"DROP DATABASE {name} WITH (FORCE)",
        f"DROP ROLE {owner}, {reader}",
    )


def export(cluster: LocalCluster, namespace: str, legacy: str) -> str:
    result = CliRunner().invoke(
        main,
        [
            "export",
            f"--namespace={namespace}",
            f"--cluster={namespace}",
            f"--secret={namespace}",
            f"--database={legacy}",
            f"--role={legacy}_owner",
            f"--role={legacy}_reader",
        ],
        env={"PGOP_ADMIN_DSN": cluster.postgres.admin_dsn},
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def state(cluster: LocalCluster, legacy: str) -> Any:
    """Return what is to stay, without what the operator's login is a member of."""
    dsn = cluster.postgres.superuser_dsn
    found = asyncio.run(state_of_server(dsn, "postgres", legacy))
    for part in found.values():
        rows = part["memberships"]
        part["memberships"] = [row for row in rows if f"'{ADMIN}', {{" not in row]
    return found


def test_exported_objects_are_accepted_and_change_nothing(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str, legacy: str
) -> None:
    before = state(cluster, legacy)
    exported = export(cluster, namespace, legacy)
    assert cluster.postgres.admin_dsn not in exported

    kubectl.apply(documents(dsn_secret(namespace, cluster.postgres.admin_dsn)))
    kubectl.apply(exported)
    kubectl.run(
        "wait", "pgdb,pgrole", "--all", "--for=condition=Ready", "--timeout=60s"
    )
    assert state(cluster, legacy) == before
    assert "managed already" in export(cluster, namespace, legacy)

    kubectl.run("delete", "pgdb,pgrole", "--all", "--timeout=60s")
    assert state(cluster, legacy) == before
