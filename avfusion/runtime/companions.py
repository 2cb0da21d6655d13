"""Compiled packages that must fit the torch beside them, which their installers do not always know."""

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version


def load_fault(package: str, module: str | None = None) -> str:
    """Why an installed package cannot be imported, and what to install; "" if it can.

    Args:
        package: name of the distribution.
        module: its name in imports, where that differs.
    """
    try:
        import_module(module or package)
    except Exception as error:  # undefined symbols come as ImportError, OSError or RuntimeError
        reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        beside = "" if package == "torch" else f" beside torch {_version('torch')}"
        return f"{package} {_version(package)} does not load{beside} ({reason}): {_remedy(package)}"
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _remedy(package: str) -> str:
    """What to install: the torch that the package names in its metadata, else the package anew."""
    try:
        named = [re.search(r"^torch *\(?==([^);, ]+)", text) for text in requires(package) or []]
    except PackageNotFoundError:
        named = []
    wanted = next((match[1] for match in named if match), None)
    if wanted and wanted != _version("torch"):
        return f"pip install 'torch=={wanted}'"
    return f"pip install --force-reinstall '{package}=={_version(package)}'"
