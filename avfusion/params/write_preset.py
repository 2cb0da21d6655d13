"""Presets: complete params.yaml files in avfusion/params/presets, to be written as the project's own."""

import os
from pathlib import Path
from typing import Any

import yaml

from avfusion.params.params import check_params
from avfusion.params.yaml_text import with_values
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import BadInputError

PRESETS = Path(__file__).with_name("presets")


def preset_names() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def write_preset(project: Path, name: str, data_root: str | Path | None = None, force: bool = False) -> Path:
    """Write the project's params.yaml from a preset, with its comments; return its path.

    Args:
        data_root: Replaces `corpus.root`; relative to the working directory.

    Raises:
        BadInputError: the preset or folder does not exist, or params.yaml was edited and `force` is not set.
    """
    names = preset_names()
    if name not in names:
        raise BadInputError(f"preset {name!r} is unknown: must be one of {', '.join(names) or 'none'}")
    source, target = PRESETS / f"{name}.yaml", project / "params.yaml"
    text = source.read_text(encoding="utf-8")
    if data_root is not None:
        text = with_values(text, "corpus", {"root": _as_written(project, Path(data_root))})
    check_params(yaml.safe_load(text), source=source.name)
    if target.is_file() and not force and _edited(project, target):
        raise BadInputError(
            f"{target.name} was edited (it is none of the presets {', '.join(names)}) and would be lost: "
            "use --force to overwrite it"
        )
    write_text(target, text)
    return target


def _as_written(project: Path, data_root: Path) -> str:
    """The path as written: relative to the project if it lies inside, also through a link there; else absolute.

    A link keeps its name, so that a project with linked data has the same parameters on every machine.
    """
    folder = Path(os.path.abspath(data_root.expanduser()))
    if not folder.is_dir():
        raise BadInputError(f"--root {data_root}: must be the folder of the raw data")
    for place, inside in ((folder, Path(os.path.abspath(project))), (folder.resolve(), project.resolve())):
        if place.is_relative_to(inside):
            return place.relative_to(inside).as_posix()
    return str(folder)


def _edited(project: Path, target: Path) -> bool:
    """Whether params.yaml differs from every preset; comments and `corpus.root` do not count."""
    present = _values(target)
    return all(present != _values(PRESETS / f"{name}.yaml") for name in preset_names())


def _values(path: Path) -> Any:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    if isinstance(values, dict) and isinstance(values.get("corpus"), dict):
        values["corpus"] = {key: value for key, value in values["corpus"].items() if key != "root"}
    return values
