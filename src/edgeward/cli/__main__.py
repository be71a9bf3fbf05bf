"""`python -m edgeward.cli`."""

from edgeward.cli import main

main()
