"""The parameters of a run: all of params.yaml, so that runs can be compared by whatever made their inputs."""

from pathlib import Path
from typing import Any

import yaml

from avfusion.params.params import SECTIONS, Params


def every_param(path: str | Path, own: Params) -> dict[str, Any]:
    """Every section of params.yaml: a stage's own as it was checked, the others as they are written.

    The others are for the record alone. They are not checked, since their faults are no business of this stage.

    Args:
        path: params.yaml, already read and found to be YAML by whoever made `own`.
        own: the sections that the stage asked for.
    """
    written = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {name: section for name, section in written.items() if name in SECTIONS} | own.to_dict()
