"""`avfusion preset`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from avfusion.commands.completion import presets
from avfusion.commands.scan import scan_project


def preset(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the preset.", show_default=False, autocompletion=presets)
    ],
    root: Annotated[str | None, typer.Option(metavar="PATH", help="Folder of the raw data.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a params.yaml that was edited.")] = False,
) -> None:
    """Write params.yaml from the preset NAME, and scan the corpus if its folder exists."""
    from avfusion.params.params import load_params
    from avfusion.params.write_preset import write_preset
    from avfusion.runtime.project import project_root

    project = project_root()
    path = write_preset(project, name, root, force)
    print(f"{path.relative_to(project)}: preset {name}")
    corpus = load_params(path, ["corpus"]).corpus
    if corpus.name == "demo" or (project / Path(corpus.root).expanduser()).is_dir():
        scan_project(project)
        if corpus.name != "demo":
            print("next: `avfusion doctor` says what is missing and what a run costs, `make repro` runs the pipeline")
    else:
        print(f"{corpus.root} does not exist: set corpus.root, then run `avfusion scan`", file=sys.stderr)
