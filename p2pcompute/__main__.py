"""`python -m p2pcompute` is the command line."""

import sys

from p2pcompute.cli import main

if __name__ == "__main__":
    sys.exit(main())
