"""`avfusion check-model`."""

from typing import TYPE_CHECKING, Annotated

import typer

from avfusion.commands.completion import fusion_model

if TYPE_CHECKING:
    from avfusion.fusion.contract import Finding


def check_model(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|package.module:Class", help="A fusion model.", autocompletion=fusion_model),
    ],
) -> None:
    """Check that a fusion model keeps the contract and learns: a line for each check.

    Exit status: 0 all is well; 2 the model cannot be used: it cannot be imported, declares its options wrongly, returns
    wrong shapes or lets absent or padded clips through; 1 another check failed.
    """
    from avfusion.fusion.catalogue import find_fusion
    from avfusion.fusion.contract import FORWARD, Case, check_fusion, timed
    from avfusion.runtime.errors import BadInputError
    from avfusion.training.overfit import overfit_fault

    try:
        find_fusion(name)
    except BadInputError as error:
        raise BadInputError(f"fusion model {name!r}: {error}") from None
    failed = []
    for outcome in check_fusion(name):
        _tell(outcome)
        failed += [outcome.check] if outcome.fault else []
    if not failed:
        outcome = timed("overfit", lambda case: overfit_fault(case.name), Case(name))
        _tell(outcome)
        failed += [outcome.check] if outcome.fault else []
    if failed:
        raise typer.Exit(2 if set(failed) & set(FORWARD) else 1)


def _tell(outcome: "Finding") -> None:
    result = "failed" if outcome.fault else "ok"
    print(f"{result:7}{outcome.check:17}{outcome.seconds:6.1f} s  {outcome.fault or ''}".rstrip(), flush=True)
