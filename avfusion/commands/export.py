"""`avfusion export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from avfusion.commands.options import ModelOption


def export(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write.", show_default=False)],
    model: ModelOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a model's networks as .pt2 files (torch.export), which run without avfusion, described by export.json.

    Each must give equal numbers after reloading, at batch sizes 1 and 7, or nothing is written. docs/serving.md
    describes the steps around the networks.
    """
    from avfusion.inference.export import export_model
    from avfusion.runtime.quantities import byte_size

    index = export_model(model, out, force=force)
    print(f"model      {index['model']['source']} ({index['model']['name']}, digest {index['model']['digest'][:12]})")
    for note in index["model"]["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for network in index["networks"].values():
        inputs = ", ".join(f"{i['name']} ({', '.join(map(str, i['shape']))})" for i in network["inputs"])
        size = byte_size((out / network["file"]).stat().st_size)
        difference = network["checked"]["largest_difference"]
        print(f"{out / network['file']}  {size}, differs by {difference:.1g}; takes {inputs}")
    print(f"{out / 'export.json'}  shapes, feature spec, digests")
