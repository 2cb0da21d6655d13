"""Output of a sweep on the terminal: a line per finished trial, a bar below, and a table at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from avfusion.experiments.sweep.objective import BEST_EPOCH, HISTORY
from avfusion.experiments.sweep.space import point_of
from avfusion.experiments.sweep.study import ERROR, INTERRUPTED, PAPER

SHOWN = 5


def point_text(point: Mapping[str, Any]) -> str:
    """A point in one line."""
    model = [str(point["model"])] if "model" in point else []
    return ", ".join([*model, *(f"{name} {_value(value)}" for name, value in point.items() if name != "model")])


def trial_line(trial: FrozenTrial, best: FrozenTrial | None) -> str:
    """A line about the end of a trial."""
    epochs = len(trial.user_attrs.get(HISTORY, ()))
    if trial.state == TrialState.COMPLETE:
        end = f"CCC {trial.values[0]:.4f} (epoch {trial.user_attrs.get(BEST_EPOCH)} of {epochs})"
    elif trial.state == TrialState.PRUNED:
        end = f"pruned at epoch {epochs}"
    elif INTERRUPTED in trial.user_attrs:
        end = f"interrupted ({trial.user_attrs[INTERRUPTED]}), will be tried again"
    elif ERROR in trial.user_attrs:
        end = f"failed: {trial.user_attrs[ERROR]}"
    else:
        end = "failed: its worker died"
    known = f"; best {best.values[0]:.4f}, trial {best.number}" if best is not None and best is not trial else ""
    return f"trial {trial.number}: {end}  {point_text(point_of(trial.params))}{known}"


def print_table(console: Console, trials: Sequence[FrozenTrial]) -> None:
    """Counts, and the best trials with their parameters; always including the paper's point."""
    counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    words = ((TrialState.COMPLETE, "completed"), (TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed"))
    console.print(", ".join(f"{counts[state]} {word}" for state, word in words if counts[state]) or "no trial ended")
    ranked = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: (-t.values[0], t.number))
    paper = [trial for trial in ranked if trial.user_attrs.get(PAPER)]
    shown = ranked[:SHOWN] + [trial for trial in paper if trial not in ranked[:SHOWN]]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rank", "trial", "val CCC", "epoch"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("point", overflow="fold")
    for trial in shown:
        cells = [str(ranked.index(trial) + 1), str(trial.number), f"{trial.values[0]:.4f}"]
        note = " (the paper's)" if trial in paper else ""
        table.add_row(*cells, str(trial.user_attrs.get(BEST_EPOCH, "")), point_text(point_of(trial.params)) + note)
    if shown:
        console.print(table)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
