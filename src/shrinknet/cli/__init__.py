"""The command line: it parses and prints; other packages do the work."""

from shrinknet.cli.program import main, program

__all__ = ["main", "program"]
