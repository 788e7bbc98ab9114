"""Runs: a folder that contains everything that is needed to continue after an interruption."""
