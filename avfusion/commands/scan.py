"""`avfusion scan`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def scan(
    if_there: Annotated[
        bool, typer.Option("--if-there", help="Do nothing if the folder is missing, as after `dvc pull`.")
    ] = False,
) -> None:
    """Scan the raw files of the corpus and write data/sources.txt, on which the pipeline depends.

    A demo corpus that is not (completely) rendered is left to `dvc repro`, which renders and scans it. `make repro`
    includes a scan.
    """
    from avfusion.runtime.project import project_root

    scan_project(project_root(), if_there=if_there)


def scan_project(project: Path, *, if_there: bool = False) -> None:
    """Scan the corpus of a project; print what was found and what is missing since the last scan."""
    from avfusion.corpora.adapters import corpus_root, open_corpus
    from avfusion.corpora.groups import describe_groups
    from avfusion.corpora.source_hashes import MEMORY
    from avfusion.corpora.sources import scan as scan_corpus
    from avfusion.corpora.switching import removed_files
    from avfusion.params.params import load_params

    every = load_params(project / "params.yaml")  # faults in any section are better reported before the first stage
    params = every.corpus
    folder = corpus_root(project, params)
    if params.name == "demo":
        from avfusion.corpora.demo.render import is_rendered

        if not is_rendered(folder, every.render):
            print("the demo corpus is not rendered yet: `dvc repro` does it")
            _note(removed_files(project, params, ()))
            return
    if if_there and not folder.is_dir():
        print(f"{params.root} is missing: the last scan is kept")
        return
    layout = open_corpus(params, folder)
    summary = scan_corpus(folder, params, project / "data" / "sources.txt", project / MEMORY, layout=layout)
    print(f"{params.root}: {summary}")
    several, crossing = describe_groups(layout.tracks)
    if several:
        print(several)
    if crossing:
        print(f"warning: {crossing}", file=sys.stderr)
    _note(removed_files(project, params, layout.tracks))


def _note(text: str) -> None:
    if text:
        print(f"note: {text}", file=sys.stderr)
