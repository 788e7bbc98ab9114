"""`shrinknet predict`: what trained networks say of photographs; each application adds its own command."""

from __future__ import annotations

import click


@click.group()
def predict() -> None:
    """Apply a trained network to photographs, and write what it finds."""
