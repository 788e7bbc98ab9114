"""Extras: optional packages, and the command that installs missing ones."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from shrinknet.errors import MissingExtraError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """The requirements of shrinknet, and the additional ones of each extra, from its metadata.

    Both are empty if the package runs from a source tree without being installed.
    """
    from packaging.requirements import Requirement

    try:
        distribution = metadata.distribution("shrinknet")
    except metadata.PackageNotFoundError:
        return [], {}
    listed = [Requirement(text) for text in distribution.requires or ()]
    needed = [one for one in listed if _applies(one, "")]
    extras = distribution.metadata.get_all("Provides-Extra") or []
    return needed, {extra: [one for one in listed if one not in needed and _applies(one, extra)] for extra in extras}


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra into this environment.

    It names the packages themselves, so that it works however shrinknet was installed.
    """
    from packaging.requirements import Requirement

    needed = requirements()[1].get(extra) or [Requirement(f"shrinknet[{extra}]")]
    names = " ".join(f"'{one.name}{'[' + ','.join(one.extras) + ']' if one.extras else ''}{one.specifier}'"
                     for one in needed)  # fmt: skip
    return f"{sys.executable} -m pip install {names}"


def installed(*modules: str) -> bool:
    """Whether all of these modules can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def require_extra(extra: str, *modules: str) -> None:
    """Checks that the packages of an extra are installed.

    Args:
        extra: its name; modules: the modules that must be importable.

    Raises:
        MissingExtraError: with the command that installs them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"This needs the extra {extra}: {', '.join(missing)} is not installed. Install it with: "
            f"{install_command(extra)}"
        )
