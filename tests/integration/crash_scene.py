"""What users and administrators do around a controller that dies, and find then."""

import secrets
from base64 import b64encode
from typing import Any, Final

import psycopg
from psycopg import conninfo, sql

from pg_operator.api.specs import API_VERSION, PLURALS, Kind
from pg_operator.kube.paths import crd_path
from pg_operator.plan.deletion import heir_name
from pg_operator.plan.state import Claimant
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.binding import ROTATE
from pg_operator.reconcilers.keys import KEYS_SECRET
from tests.integration.crash_bed import OPERATOR, Lives
from tests.integration.end_state import (
    observe_api_state,
    observe_server_state,
    values_of,
)
from tests.integration.memory_api import Json, Place
from tests.integration.postgres_bed import run_as_superuser
from tests.integration.reconcile_bed import MAIN
from tests.localcluster.postgres import PostgresServer

NAMESPACE: Final = "shop"


class Scene:
    """A namespace of objects and Secrets, and a server with what they stand for."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.lives = Lives()
        self.prefix = f"t{secrets.token_hex(4)}"
        self.claimant = Claimant(
            f"{self.prefix}-cluster", "DatabaseRole", NAMESPACE, f"{self.prefix}-ns", ""
        )
        self._put_core("namespaces", "", "kube-system", uid=self.claimant.owner_id)
        self._put_core("namespaces", "", NAMESPACE, uid=self.claimant.namespace_uid)
        for kind in PLURALS:
            name = crd_path(kind).rpartition("/")[2]
            self._put_core("customresourcedefinitions", "", name)
        self.secret("dsn", OPERATOR, connection=server.admin_dsn)
        self.cluster()

    @property
    def heir(self) -> str:
        """The role that gets what deleted roles own."""
        return heir_name(self.claimant)

    def name(self, suffix: str) -> str:
        """Return a name on the server that only this scene has."""
        return f"{self.prefix}_{suffix}"

    def cluster(self, **spec: Any) -> None:
        """Apply the DatabaseCluster."""
        spec = {"connection": {"name": "dsn"}, **spec}
        self._put("DatabaseCluster", "", "main", spec)

    def database(self, name: str, **spec: Any) -> None:
        """Apply a Database."""
        spec = {"name": self.name(name), **MAIN, **spec}
        self._put("Database", NAMESPACE, name, spec)

    def role(self, name: str, *, rotate: str | None = None, **spec: Any) -> None:
        """Apply a DatabaseRole."""
        spec = {"roleName": self.name(name), **MAIN, **spec}
        annotations = {} if rotate is None else {ROTATE: rotate}
        self._put("DatabaseRole", NAMESPACE, name, spec, annotations=annotations)

    def secret(self, name: str, namespace: str = NAMESPACE, **values: str) -> None:
        """Apply a Secret."""
        data = {key: b64encode(text.encode()).decode() for key, text in values.items()}
        self._put_core("secrets", namespace, name, data=data)

    def stored(self, kind: Kind, name: str) -> Json:
        """Return an object."""
        return self.lives.api.objects[Place(PLURALS[kind], NAMESPACE, name)]

    def delete(self, kind: Kind, *names: str) -> None:
        """Delete objects."""
        for name in names:
            self.lives.api.delete_at(Place(PLURALS[kind], NAMESPACE, name))

    def values(self, secret: str, namespace: str = NAMESPACE) -> dict[str, bytes]:
        """Return what is in a Secret."""
        return values_of(self.lives.api.objects[Place("secrets", namespace, secret)])

    async def execute(self, *statements: str, database: str = "postgres") -> None:
        """Do something on the server as its superuser."""
        dsn = self.server.superuser_dsn
        await run_as_superuser(dsn, *statements, database=database)

    async def end_state(self) -> set[str]:
        """Return all that is there in the end, after its passwords were tried."""
        api = self.lives.api
        for place, obj in api.objects.items():
            if "uri" in obj.get("data", {}):
                await self._log_in(self.values(place.name))
        stored = observe_api_state(api, prefix=self.prefix)
        return stored | await observe_server_state(
            self.server.superuser_dsn,
            prefix=self.prefix,
            heir=self.heir,
            keyring=Keyring.from_secret(self.values(KEYS_SECRET, OPERATOR)),
        )

    async def _log_in(self, values: dict[str, bytes]) -> None:
        target = conninfo.make_conninfo(
            self.server.superuser_dsn,
            user=values["username"].decode(),
            password=values["password"].decode(),
            dbname=values["database"].decode(),
        )
        await (await psycopg.AsyncConnection.connect(target)).close()

    async def clear(self) -> None:
        """Drop everything again."""
        everything = "SELECT 'DROP {0} ' || quote_ident({1}) || '{2}' FROM {3}"
        queries = (
            everything.format("DATABASE", "datname", " WITH (FORCE)", "pg_database")
            + f" WHERE starts_with(datname, '{self.prefix}')",
            everything.format("ROLE", "rolname", "", "pg_roles")
            + f" WHERE starts_with(rolname, '{self.prefix}')"
            f" OR rolname = '{self.heir}'",
        )
        for query in queries:
            async with await psycopg.AsyncConnection.connect(
                self.server.superuser_dsn, autocommit=True
            ) as connection:
                cursor = await connection.execute(sql.SQL(query))
                for (statement,) in await cursor.fetchall():
                    await connection.execute(sql.SQL(statement))

    def _put(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        spec: Json,
        annotations: dict[str, str] | None = None,
    ) -> None:
        metadata = {"name": name, "annotations": annotations or {}}
        obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}
        place = Place(PLURALS[kind], namespace, name)
        self.lives.api.put(place, {**obj, "spec": spec})

    def _put_core(
        self, plural: str, namespace: str, name: str, *, uid: str = "", **fields: Any
    ) -> None:
        identity = {"uid": uid} if uid else {}
        metadata = {"name": name, **identity}
        obj = {"apiVersion": "v1", "metadata": metadata, **fields}
        self.lives.api.put(Place(plural, namespace, name), obj)
