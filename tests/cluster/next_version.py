"""`python -m tests.cluster.next_version`: the operator with one rule tightened.

As a later version of it may be, nobody is permitted TEMPORARY on a database any more.
"""

import sys
from typing import Final

from pg_operator.api import validation
from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.validation.role import check_role
from pg_operator.cli.main import main

REFUSED: Final = "TEMPORARY"
DETAIL: Final = "is not permitted any more"
MOST: Final = 64


def check_role_more(spec: Field) -> None:
    """Check a DatabaseRole by this version's rules and by the new one."""
    check_role(spec)
    for permission in spec["permissions"].entries(most=MOST):
        for word in permission["privileges"].entries(most=MOST):
            if word.value == REFUSED:
                word.refuse(Problem("next-version", DETAIL))


if __name__ == "__main__":
    vars(validation)[check_role.__name__] = check_role_more
    sys.exit(main())
