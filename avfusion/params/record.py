"""The parameters of a run: all of params.yaml, so that runs can be compared by everything behind their inputs."""

from pathlib import Path
from typing import Any

import yaml

from avfusion.params.params import SECTIONS, Params


def every_param(path: str | Path, own: Params) -> dict[str, Any]:
    """Every section of params.yaml: the stage's own as checked, the others as written.

    The others are only recorded, not checked: their faults do not concern this stage.

    Args:
        path: params.yaml, already read as valid YAML for `own`.
    """
    written = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {name: section for name, section in written.items() if name in SECTIONS} | own.to_dict()
