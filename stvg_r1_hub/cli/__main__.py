"""`python -m stvg_r1_hub.cli`, as launchers of several processes start it."""

import sys

from stvg_r1_hub.cli import main

if __name__ == "__main__":
    sys.exit(main())
