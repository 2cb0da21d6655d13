"""Packages that avfusion's extras bring, and what to install where one is missing."""

from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec

from packaging.requirements import Requirement

from avfusion.runtime.errors import AVFusionError

EXTRA_OF = {
    "dvc": "pipeline",
    "sklearn": "pipeline",
    "mlflow": "track",
    "optuna": "sweep",
    "fastapi": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "ray": "ray",
    "psycopg2": "postgres",
}
"""The extra in pyproject.toml by the name in imports."""


class MissingExtraError(AVFusionError):
    """A package of an extra is not installed."""


def require_extra(*modules: str) -> None:
    """Raise `MissingExtraError` if a module of an extra is not installed; nothing is imported."""
    if missing := [module for module in modules if find_spec(module) is None]:
        raise _missing(missing[0])


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error for people behind a failed import; None if no extra brings the module."""
    module = (error.name or "").partition(".")[0]
    return _missing(module) if module in EXTRA_OF else None


def _missing(module: str) -> MissingExtraError:
    extra = EXTRA_OF[module]
    packages = " ".join(f"'{requirement}'" for requirement in extra_requirements(extra))
    return MissingExtraError(
        f"{module} is not installed; it is part of avfusion's extra [{extra}]: "
        + (f"`pip install {packages}`, or in a checkout `make setup`" if packages else "`make setup` in a checkout")
    )


def extra_requirements(extra: str, requirements: Iterable[str] | None = None) -> list[str]:
    """What an extra brings beside the core, as pip takes it, without extras that it includes.

    Args:
        requirements: of a package's metadata; None: of the installed avfusion's.
    """
    if requirements is None:
        try:
            requirements = metadata.requires("avfusion") or []
        except metadata.PackageNotFoundError:
            return []
    found = []
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            found.append(f"{requirement.name}{requirement.specifier}")
    return [name for name in found if not name.startswith("avfusion")]
