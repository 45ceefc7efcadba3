"""`python -m memefly`: the library's commands, where the pipeline is not installed."""

import sys

from memefly.commands.main import main

sys.exit(main())
