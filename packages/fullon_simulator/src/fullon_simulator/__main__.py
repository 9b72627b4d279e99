"""`python -m fullon_simulator` is `fullon-simulator`."""

import sys

from fullon_simulator.cli import main

sys.exit(main())
