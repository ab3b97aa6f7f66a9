"""`python -m persona_core`: the command `persona`, without an installation."""

import sys

from .command.main import main

sys.exit(main())
