"""The rules for generated passwords and the Secret to connect from. Pure."""

from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import referred_name_problem, secret_name_problem

HOSTS: Final = ("Server", "Service")
GENERATED_OR_GIVEN: Final = (
    "may not be set together with `password`; keep one of the two"
)
KEPT_SOMEWHERE: Final = (
    "must say where the generated password is kept, with `generatePassword`"
)
SOMETHING_TO_KEEP: Final = "may only be set with `password` or `generatePassword`"
READ_OR_WRITTEN: Final = (
    "must be another Secret than the one of `password`, which is only read"
)
DATABASE_IS_CLEAR: Final = (
    "must name the database unless `permissions` has exactly one entry"
)


def check_connection_secret(spec: Field) -> None:
    """Check where the password comes from and where it is published."""
    password, generate = spec["password"], spec["generatePassword"]
    secret = spec["connectionSecret"]
    generate.check_boolean()
    if generate.value is True:
        if password.is_present:
            generate.refuse(
                Problem(
                    "generate-xor-password",
                    GENERATED_OR_GIVEN,
                    "FieldValueForbidden",
                )
            )
        secret.require(KEPT_SOMEWHERE)
    if not secret.has_type("object"):
        return
    if not password.is_present and generate.value is not True:
        problem = Problem(
            "secret-without-password", SOMETHING_TO_KEEP, "FieldValueForbidden"
        )
        secret.refuse(problem)
    name = secret["name"].require("must be the name of a Secret in the same namespace")
    name.check_text(secret_name_problem)
    if isinstance(name.value, str) and name.value == _name(password):
        name.refuse(Problem("secret-twice", READ_OR_WRITTEN))
    secret["host"].check_choice(*HOSTS)
    database = secret["database"]
    database.check_text(referred_name_problem)
    permissions = spec["permissions"].value
    if not (isinstance(permissions, list) and len(permissions) == 1):
        database.require(DATABASE_IS_CLEAR)


def _name(password: Field) -> object:
    return password.value.get("name") if isinstance(password.value, dict) else None
