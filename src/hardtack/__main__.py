"""`python -m hardtack`: the same as the command `hardtack`."""

import sys

from hardtack.cli import main

if __name__ == "__main__":
    sys.exit(main())
