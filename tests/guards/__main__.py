"""`python -m tests.guards [trap …]`: take guards out one by one; tests must fail."""

import sys

from tests.guards.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
