"""How much is read of what a tenant may make as long, or as many, as it likes.

An owner comments on its database and every role sets parameters of its own, up to a
gigabyte, and one controller reads them all: what is longer counts as not there.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Bytes. Several times what is ever written here: a mark is no longer than the spec
# whose grants it records, and a value in a spec has 1024 characters.
LONGEST_COMMENT: Final = 4 * 1024 * 1024
LONGEST_SETTING: Final = 16 * 1024
# All settings of one role, or of one database, together; there may be any number.
LONGEST_SETTINGS: Final = 4 * 1024 * 1024

# Objects of a kind in a database, and privileges of one role there. Each takes about a
# kilobyte while a role is looked at, and others' roles are looked at meanwhile.
MOST_ROWS: Final = 150_000

# What the queries call them.
BOUNDS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "longest_comment": LONGEST_COMMENT,
        "longest_setting": LONGEST_SETTING,
        "longest_settings": LONGEST_SETTINGS,
    }
)
