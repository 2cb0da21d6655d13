"""`avfusion doctor`."""

import sys
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Also measure thread counts and arithmetic of the backbones (minutes).")
    ] = False,
) -> None:
    """Say what is fine, what is missing and what a run costs; opens no video and no image.

    Exit status: 0 nothing is missing; 2 params.yaml or the data are not usable; 1 the environment is not whole.
    """
    from contextlib import redirect_stdout

    from avfusion.doctor import diagnose, print_report
    from avfusion.runtime.project import project_root

    with redirect_stdout(sys.stderr):  # progress of a tuning
        report = diagnose(project_root(), tuning=tune)
    if as_json:
        print(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)
