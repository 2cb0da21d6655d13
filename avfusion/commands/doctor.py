"""`avfusion doctor`."""

import sys
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Also measure thread counts and arithmetic of the backbones (minutes).")
    ] = False,
    lag: Annotated[
        bool, typer.Option("--lag", help="Also estimate by how much labels lag behind the video; needs features.")
    ] = False,
) -> None:
    """Check environment, corpus and parameters, and estimate the cost of a run; decodes no video and no image.

    Exit status: 0 nothing is missing; 2 params.yaml or the data cannot be used; 1 the environment is incomplete.
    """
    from contextlib import redirect_stdout

    from avfusion.doctor import diagnose, print_report
    from avfusion.runtime.project import project_root

    with redirect_stdout(sys.stderr):  # for the progress of a tuning
        report = diagnose(project_root(), tuning=tune, lag=lag)
    if as_json:
        print(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)
