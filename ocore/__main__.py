"""Run the command line as `python -m ocore`."""

import sys

from ocore.cli import main

sys.exit(main())
