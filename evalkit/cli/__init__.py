"""The command line: verbs parse words and call their Python twins.

Results for machines go to standard output (``--json``), everything for people to standard error. Nothing
heavy is
imported before a verb runs.
"""

from evalkit.cli.program import app as app
from evalkit.cli.program import main as main
