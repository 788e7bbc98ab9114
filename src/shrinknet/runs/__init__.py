"""Runs: a folder that holds everything needed to continue after an interruption."""
