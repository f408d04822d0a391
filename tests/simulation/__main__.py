"""Starts the simulator: `python -m tests.simulation --help`."""

import sys

from tests.simulation.command_line import main

if __name__ == "__main__":
    sys.exit(main())
