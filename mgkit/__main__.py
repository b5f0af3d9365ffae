"""`python -m mgkit` is the command `mgkit`."""

from mgkit.cli import main

raise SystemExit(main())
