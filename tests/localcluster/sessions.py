"""Logins and statements that are shown, with what the server answers."""

from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.localcluster.postgres import SUPERUSER
from tests.localcluster.story import Story

WRONG_PASSWORD = "password authentication failed"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in to which database, and where that is; `conninfo` is libpq's."""

    conninfo: str = field(repr=False)

    def but(self, **values: str) -> "Login":
        """Return the login with other values, for example `dbname`."""
        return Login(make_conninfo(self.conninfo, **values))

    def value(self, name: str) -> str:
        """Return one value of the conninfo."""
        return str(conninfo_to_dict(self.conninfo)[name])

    def prompt(self) -> str:
        """Return `user@database` with psql's sign for what the user may do."""
        sign = "=#" if self.value("user") == SUPERUSER else "=>"
        return f"{self.value('user')}@{self.value('dbname')}{sign}"

    def run(self, statement: LiteralString = "SELECT 1") -> str:
        """Log in and run a statement; return rows or the error, as psql writes them."""
        try:
            with psycopg.connect(
                self.conninfo, autocommit=True, connect_timeout=5
            ) as connection:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if error.diag.message_primary:
                return f"{error.diag.severity}:  {error.diag.message_primary}"
            # A login that is refused has no diagnostics, only libpq's whole text.
            said = str(error)
            return said[max(said.find("FATAL:"), 0) :].splitlines()[0]
        return "\n".join("  ".join(map(str, row)) for row in rows)


@dataclass(frozen=True, slots=True)
class Sessions:
    """Shows what a person at a Python or SQL prompt would see."""

    story: Story

    def enter(self, login: Login) -> str:
        """Show an attempt to log in; return the server's refusal, "" for none."""
        shown = " ".join(
            f"{name}={login.value(name)}" for name in ("dbname", "user", "password")
        )
        self.story.prompt(">>>", f'psycopg.connect("{shown}")')
        answer = login.run()
        refusal = "" if answer == "1" else answer
        self.story.output(refusal or "<psycopg.Connection>")
        return refusal

    def ask(self, login: Login, statement: LiteralString) -> str:
        """Show a statement and its answer; return the answer."""
        self.story.prompt(login.prompt(), statement)
        answer = login.run(statement)
        self.story.output(answer)
        return answer
