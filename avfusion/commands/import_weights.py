"""`avfusion import-weights`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Published(StrEnum):
    """A published checkpoint."""

    tsav = "tsav"
    jointcam = "jointcam"


def import_weights(
    kind: Annotated[
        Published,
        typer.Argument(help="tsav: backbones (arXiv 2002.03399); jointcam: fusion (code of arXiv 2209.09068)."),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published checkpoint.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Folder to write. Default: models/imported/<kind>."),
    ] = None,
    tsav: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="jointcam: folder of the imported tsav. Default: beside the written folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier import.")] = False,
) -> None:
    """Convert a published checkpoint to safetensors for params.yaml and `predict`; runs none of its code.

    Exit status: 0 done; 2 FILE or DIR cannot be used; 1 something failed.
    """
    from avfusion.backbones.catalogue import IMPORT_FOLDER
    from avfusion.fusion.import_weights import import_jointcam, import_tsav
    from avfusion.runtime.project import project_root

    folder = out or project_root() / IMPORT_FOLDER / kind.value
    if kind is Published.tsav:
        done = import_tsav(file, folder, force=force)
        use = "backbones.visual.weights and backbones.audio.weights: tsav" if out is None else f"weights below {folder}"
    else:
        done = import_jointcam(file, folder, tsav=tsav or folder.parent / "tsav", force=force)
        use = f"`avfusion predict VIDEO --model {folder}`, or train.weights"
    print(f"{folder}: {done['source']}")
    print(f"made from  {done['file']} (SHA-256 {done['sha256']})")
    print(f"licence    {done['licence']}")
    print(f"use        {use}; see docs/weights.md")
    if force and kind is Published.tsav:
        print("models/imported/jointcam holds the earlier backbones: import jointcam again, too")
    if force:
        print("`dvc repro --force --downstream backbones` remakes the stages that used the earlier import")
