"""`shrinknet predict`: what a trained network says of new images."""

from __future__ import annotations

import click


@click.group()
def predict() -> None:
    """Run a trained network on images, and write what it finds."""
