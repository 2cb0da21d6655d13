"""`avfusion submit`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SubmitSplit(StrEnum):
    """Splits that the stage `evaluate` predicts."""

    test = "test"
    val = "val"


class SubmitFormat(StrEnum):
    """Format of a submission."""

    abaw3 = "abaw3"
    abaw5 = "abaw5"


def submit(
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="PATH", help="abaw5: the file; abaw3: the folder.", show_default=False),
    ],
    split: Annotated[SubmitSplit, typer.Option(help="Tracks to submit.")] = SubmitSplit.test,
    form: Annotated[
        SubmitFormat, typer.Option("--format", help="abaw3: a file per track; abaw5 and later: one file.")
    ] = SubmitFormat.abaw5,
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="From the organisers. abaw5: the sample file, whose rows are written; abaw3: the list of test tracks.",
        ),
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="With evaluate.smoothing_*, as in the published results.")
    ] = True,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Write 0, 0 in every frame of tracks without predictions.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another submission.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write the evaluated predictions as challenge files, and read them back to validate every row.

    Exit status: 0 done; 2 predictions, sample or PATH cannot be used; 1 something failed.
    """
    from avfusion.challenge.submission import submit as write_submission
    from avfusion.runtime.project import project_root

    done = write_submission(
        project_root(),
        out,
        split=split.value,
        form=form.value,
        sample=sample,
        smooth=smooth,
        fill_missing=fill_missing,
        force=force,
    )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    print(done.to_json() if as_json else done.to_text())
