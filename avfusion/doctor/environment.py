"""Check the environment: packages, processors, memory, disk, and the store of runs."""

import os
import platform
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from avfusion.doctor.report import Item
from avfusion.runtime.companions import load_fault
from avfusion.runtime.quantities import byte_size, counted
from avfusion.tracking.answers import StoreAwayError, check_answers
from avfusion.tracking.model_cache import VARIABLE, cache_folder
from avfusion.tracking.store import moved_store, public_uri

ENVIRONMENT_SIZE = "about 3 GB to download, 6 GB on disk (.venv)"
PROJECT_EXTRAS = ("", "pipeline", "track", "sweep")
"""What a project needs beside the core."""
SHOWN = ("torch", "torchvision", "av", "opencv-python-headless", "mlflow", "dvc", "optuna")
# Compiled packages that may be installed and yet not load, and their names in imports.
COMPILED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "av": "av",
    "opencv-python-headless": "cv2",
    "soundfile": "soundfile",
}
SET_UP = "run `make setup`"


def look_at_environment(root: Path) -> tuple[dict[str, Any], list[Item]]:
    """Facts about the machine and the project's environment, and items on them."""
    facts: dict[str, Any] = {
        "versions": {"python": platform.python_version()},
        "cores": usable_cores(),
        "memory_gb": _memory_gb(),
        "gpus": _gpus(),
        "free_disk_gb": round(shutil.disk_usage(root).free / 1e9, 1),
    }
    try:
        requirements = metadata.requires("avfusion") or []
        found, items = check_packages(requirements)
    except metadata.PackageNotFoundError:
        found, items = {}, [Item("environment", "avfusion", "missing", f"not installed: {SET_UP}")]
    facts["versions"] |= found
    faults = {package: load_fault(package, module) for package, module in COMPILED.items() if package in found}
    items += [Item("environment", package, "missing", fault) for package, fault in faults.items() if fault]
    main = ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)
    items.append(Item("environment", "packages", "ok", f"Python {facts['versions']['python']}, {main}"))
    items.append(Item("environment", "size", "ok", ENVIRONMENT_SIZE))
    items.append(Item("environment", "device", "ok", _device(facts)))
    items.append(_tracking(root))
    items.append(_model_cache())
    return facts, items


def check_packages(requirements: Iterable[str]) -> tuple[dict[str, str], list[Item]]:
    """Versions of the installed packages, and an item for each that is missing or has another version than required.

    Args:
        requirements: As in pyproject.toml; other extras than `PROJECT_EXTRAS` are ignored.
    """
    versions: dict[str, str] = {}
    items = []
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in PROJECT_EXTRAS):
            continue
        if requirement.name == "avfusion":  # an extra that includes another
            continue
        try:
            version = versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            items.append(Item("environment", requirement.name, "missing", f"not installed: {SET_UP}"))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong = f"{version} is installed, {requirement.specifier} is needed: {SET_UP}"
            items.append(Item("environment", requirement.name, "missing", wrong))
    return versions, items


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, ValueError, OSError):  # not everywhere
        return None


def _gpus() -> list[str]:
    try:
        import torch

        from avfusion.runtime.devices import default_device
    except (ImportError, OSError):  # reported among the packages
        return []
    if default_device() == "cpu":  # which says why a GPU that is there cannot be used
        return []
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{card.name} ({card.total_memory / 1e9:.0f} GB)" for card in cards]


def _device(facts: dict[str, Any]) -> str:
    memory = f", {facts['memory_gb']:.0f} GB of memory" if facts["memory_gb"] else ""
    return f"{facts['cores']} CPU cores{memory}, {', '.join(facts['gpus']) or 'no GPU'}"


def _tracking(root: Path) -> Item:
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        try:
            check_answers(root)
        except StoreAwayError as error:
            return Item("environment", "tracking store", "warn", f"{error} (MLFLOW_TRACKING_URI names it)")
        return Item("environment", "tracking store", "ok", f"{public_uri(uri)}, as MLFLOW_TRACKING_URI says")
    if problem := moved_store(root):
        return Item("environment", "tracking store", "warn", problem)
    state = "" if (root / "mlruns" / "mlflow.db").is_file() else " (made by the first run)"
    return Item("environment", "tracking store", "ok", f"mlruns/mlflow.db{state}")


def _model_cache() -> Item:
    folder = cache_folder()
    files = [path for path in folder.rglob("*") if path.is_file()]
    models = len(list(folder.glob("models/[0-9a-f]*")))
    held = f"{counted(models, 'downloaded model')}, {byte_size(sum(path.stat().st_size for path in files))}"
    return Item("environment", "model cache", "ok", f"{folder}: {held} (delete it to empty it; {VARIABLE} moves it)")
