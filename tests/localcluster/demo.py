"""`make demo`: the whole job, shown on a local cluster that ends by itself."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg

from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.cluster import LocalCluster, running_cluster
from tests.localcluster.kubectl import KubectlError
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.postgres import HOST
from tests.localcluster.probes import answers, wait_until
from tests.localcluster.processes import BedError, environment
from tests.localcluster.progress import duration
from tests.localcluster.runs import LOCAL, run_directory
from tests.localcluster.sessions import WRONG_PASSWORD, Login, Sessions
from tests.localcluster.story import Shell, Story, Unexpected

SAMPLES = "config/samples"
REFUSED = f"{SAMPLES}/invalid/role-many-errors.yaml"
NEW_PASSWORD = "freshly-chosen"
# Seconds that anything may take that happens by itself; the 5 s resync is part of it.
PATIENCE = 60
READ = "SELECT id, item FROM app.orders"
CONTENT = "1  pencils\n2  paper"
NO_RIGHT = "ERROR:  permission denied for table orders"
DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"
ROLES = "SELECT rolname FROM pg_roles WHERE NOT starts_with(rolname, 'pg_') ORDER BY 1"


def demo(story: Story) -> None:
    """Show the whole job; whatever happens, no process is left.

    Raises BedError at the first step that does not end as it has to.
    """
    started = time.monotonic()
    story.say("pg-operator: PostgreSQL databases, logins and grants by kubectl apply")
    with run_directory(LOCAL / "runs") as directory, contextlib.chdir(CHECKOUT):
        try:
            _tell(story, directory)
        except (BedError, KubectlError, psycopg.Error) as error:
            where = f"What the operator and the servers logged: {directory / 'logs'}"
            raise BedError(f"{error}\n{where}") from error
    took = duration(time.monotonic() - started)
    story.say(f"\nDone in {took}. Everything that was started here has ended.")
    story.say("`make up` starts the same cluster and leaves it for you to try things.")


def _tell(story: Story, directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        with story.step(
            "Start Kubernetes, PostgreSQL and pg-operator",
            "On this machine's loopback, for this demo alone.",
        ):
            running = running_cluster(directory, progress=story.progress())
            cluster = stack.enter_context(running)
            operator = (cluster.controller, cluster.webhook)
            story.check(
                "all of it runs",
                holds=all(answers(one.component.ready_url) for one in operator),
            )
        _Demo(
            story=story,
            shell=Shell(story, environment=_kubectl_environment(cluster)),
            sessions=Sessions(story),
            cluster=cluster,
        ).tell()


def _kubectl_environment(cluster: LocalCluster) -> dict[str, str]:
    """Return an environment whose `kubectl` is the administrator's."""
    kubectl = cluster.kubectl_in("default")
    additions = {
        "PATH": f"{kubectl.program.parent}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(kubectl.kubeconfig),
        "KUBECACHEDIR": str(kubectl.cache),
        "PGOP_ADMIN_DSN": cluster.postgres.admin_dsn,
    }
    return environment(additions)


@dataclass(frozen=True, slots=True)
class _Demo:
    """What is shown on a running cluster; the steps build on each other."""

    story: Story
    shell: Shell
    sessions: Sessions
    cluster: LocalCluster

    def tell(self) -> None:
        before = self.connect()
        self.apply_samples()
        self.refuse()
        reporting = self.use_grants()
        reporting = self.change_password(reporting)
        self.repair(reporting)
        self.delete_everything(before)

    def connect(self) -> str:
        """Hand over the operator's login; return what is on the server."""
        with self.story.step(
            "Say where the PostgreSQL server is",
            "The operator's login, pgop_admin, is no superuser: it may create"
            " databases and roles. It goes into a Secret.",
        ):
            self.shell.run(
                "kubectl create secret generic postgres-admin"
                f" --namespace={OPERATOR_NAMESPACE}"
                ' --from-literal=connection="$PGOP_ADMIN_DSN"'
            )
            on_server = self.on_server()
            self.story.check(
                "nobody has a database there yet",
                holds=on_server == "postgres\n\npgop_admin\npostgres",
            )
        return on_server

    def apply_samples(self) -> None:
        """Apply the samples and wait until all are Ready."""
        with self.story.step(
            "Ask for databases and roles",
            "All samples at once; the order does not matter.",
        ):
            self.shell.run(f"kubectl apply -f {SAMPLES}")
            self.shell.run(
                "kubectl wait pgop --all --all-namespaces"
                f" --for=condition=Ready --timeout={PATIENCE}s"
            )
            table = self.shell.run("kubectl get pgop -A")
            lines = table.splitlines()
            objects = [line for line in lines if ".pg-operator.dev/" in line]
            ready = [line for line in objects if "True" in line.split()]
            self.story.check(
                f"all {len(objects)} are Ready",
                holds=bool(objects) and ready == objects,
            )

    def refuse(self) -> None:
        """Apply an object that is full of errors."""
        with self.story.step(
            "Ask for something wrong",
            "Every error is told at once, with what would be right.",
        ):
            answer = self.shell.run(f'kubectl apply -f {REFUSED}; echo "exit code $?"')
            expected = Path(REFUSED).with_suffix(".txt").read_text(encoding="utf-8")
            self.story.check(
                "nothing was stored, and you know why",
                holds=answer.endswith(f"{expected}exit code 1\n"),
            )

    def use_grants(self) -> Login:
        """Use a role for what it is granted and for what it is not; return it."""
        with self.story.step(
            "Log in and do what was granted, nothing else",
            "The role `reporting` may SELECT from all tables of schema app in shop."
            " Tables made later are reached at the next resync, every 10 minutes"
            " unless the cluster says otherwise. PGHOST and PGPORT lead to the server.",
        ):
            self.shell.run(
                "kubectl patch databasecluster main --type=merge"
                """ -p '{"spec": {"resyncInterval": "5s"}}'"""
            )
            self.as_admin("CREATE TABLE app.orders (id int, item text)")
            self.as_admin("INSERT INTO app.orders VALUES (1, 'pencils'), (2, 'paper')")
            self.soon("the grant has reached the new table", self.may_read)
            password = self.shell.run(
                "kubectl get secret reporting-password"
                " -o go-template='{{.data.PGPASSWORD | base64decode}}'"
            )
            reporting = self.login_as("reporting", password, "shop")
            answer = self.sessions.enter(reporting)
            self.story.check("the Secret's password logs in", holds=answer == "")
            self.reads(reporting, "what is granted is allowed")
            answer = self.sessions.ask(reporting, "DELETE FROM app.orders")
            self.story.check(
                "anything else is denied",
                holds=answer == NO_RIGHT,
            )
            answer = self.sessions.enter(reporting.but(dbname="ledger"))
            self.story.check(
                "and so is a database that is not granted",
                holds='permission denied for database "ledger"' in answer,
            )
        return reporting

    def change_password(self, old: Login) -> Login:
        """Change the Secret; return the login that works from then on."""
        new = old.but(password=NEW_PASSWORD)
        with self.story.step(
            "Change the password", "The role follows its Secret by itself."
        ):
            self.shell.run(
                "kubectl patch secret reporting-password"
                f""" -p '{{"stringData": {{"PGPASSWORD": "{NEW_PASSWORD}"}}}}'"""
            )
            self.soon("the server has the new password", lambda: new.run() == "1")
            answer = self.sessions.enter(new)
            self.story.check("the new password logs in", holds=answer == "")
            answer = self.sessions.enter(old)
            self.story.check(
                "the old one does not",
                holds=WRONG_PASSWORD in answer,
            )
        return new

    def repair(self, reporting: Login) -> None:
        """Take a grant away by hand and wait until it is back."""
        with self.story.step(
            "Take a grant away by hand", "The next resync gives it back."
        ):
            # A resync may come between REVOKE and SELECT; not time and again.
            self.story.check(
                "for the moment it is gone",
                holds=any(self.revoked(reporting) for _ in range(3)),
            )
            self.soon("the operator has granted it again", self.may_read)
            self.reads(reporting, "and the role can read as before")

    def delete_everything(self, before: str) -> None:
        """Delete every object, and the data with it; compare the server with before."""
        with self.story.step(
            "Delete everything",
            "Databases stay on the server when their objects go, and so does the role"
            " `backup`: their deletionPolicy is Retain. That is changed first.",
        ):
            self.shell.run(
                "kubectl patch databaserole/backup $(kubectl get databases -o name)"
                """ --type=merge -p '{"spec": {"deletionPolicy": "Delete"}}'"""
            )
            self.shell.run(f"kubectl delete -f {SAMPLES} --timeout={PATIENCE}s")
            self.shell.run(
                f"kubectl delete secret postgres-admin --namespace={OPERATOR_NAMESPACE}"
            )
            self.soon("Kubernetes has removed the Services", self.no_service)
            objects = self.shell.run("kubectl get pgop,services,secrets")
            self.story.check(
                "the namespace has nothing left but Kubernetes' own Service",
                holds=[line.split()[0] for line in objects.splitlines()]
                == ["NAME", "service/kubernetes"],
            )
            self.story.check(
                "the server is as it was before", holds=self.on_server() == before
            )

    def on_server(self) -> str:
        """Show and return the server's databases and roles."""
        superuser = Login(self.cluster.postgres.superuser_dsn)
        return "\n\n".join(
            self.sessions.ask(superuser, statement) for statement in (DATABASES, ROLES)
        )

    def login_as(self, user: str, password: str, dbname: str) -> Login:
        """Return a login to the cluster's server."""
        address = {"host": HOST, "port": str(self.cluster.postgres.port)}
        return Login("").but(user=user, password=password, dbname=dbname, **address)

    def as_admin(self, statement: LiteralString) -> None:
        """Show a statement in shop as the operator's login, which owns it."""
        admin = Login(self.cluster.postgres.admin_dsn).but(dbname="shop")
        answer = self.sessions.ask(admin, statement)
        if answer:
            raise Unexpected(f"`{statement}` said {answer}")

    def reads(self, login: Login, claim: str) -> None:
        """Show that a login reads the table."""
        answer = self.sessions.ask(login, READ)
        self.story.check(claim, holds=answer == CONTENT)

    def revoked(self, login: Login) -> bool:
        """Revoke the right to read; say whether the login then has it no more."""
        self.as_admin("REVOKE SELECT ON app.orders FROM reporting")
        return self.sessions.ask(login, READ) == NO_RIGHT

    def may_read(self) -> bool:
        """Say whether the catalog has the grant."""
        superuser = Login(self.cluster.postgres.superuser_dsn).but(dbname="shop")
        question: LiteralString = (
            "SELECT has_table_privilege('reporting', 'app.orders', 'SELECT')"
        )
        return superuser.run(question) == "True"

    def no_service(self) -> bool:
        """Say whether only Kubernetes' own Service is left."""
        names = self.cluster.kubectl_in("default").run("get", "services", "-o=name")
        return names == "service/kubernetes\n"

    def soon(self, claim: str, condition: Callable[[], bool]) -> None:
        """Wait until something has happened by itself; show how long it took."""
        started = time.monotonic()
        holds = wait_until(condition, timeout=PATIENCE)
        took = duration(time.monotonic() - started)
        self.story.check(f"{claim} ({took})", holds=holds)
