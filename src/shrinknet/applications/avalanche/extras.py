"""A stand-in for shrinknet.extras: refuses what needs packages that are not installed."""

from __future__ import annotations

import importlib.util

from shrinknet.errors import MissingExtraError


def require_extra(extra: str, *modules: str) -> None:
    """Refuses what needs packages that are not installed.

    Args:
        extra: its name; modules: what must be there to import.

    Raises:
        MissingExtraError: with the command that installs them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"This needs the extra {extra}, of which {', '.join(missing)} is not installed. Install it with: "
            f"pip install 'shrinknet[{extra}]'"
        )
