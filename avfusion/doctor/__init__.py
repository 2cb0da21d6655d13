"""`avfusion doctor`: check environment, parameters and corpus; estimate the cost of a run.

No image and no video is opened: the report uses names, sizes, hashes, annotations and results of earlier stages. Only a
tuning, on request, runs the backbones, on random clips.
"""

from pathlib import Path
from typing import Any

import yaml

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.demo.render import is_rendered
from avfusion.corpora.switching import is_other_corpus, removed_files
from avfusion.doctor.capacity import look_at_capacity
from avfusion.doctor.corpus import CorpusState, look_at_corpus, split_facts
from avfusion.doctor.costs import Costs, estimate
from avfusion.doctor.environment import look_at_environment
from avfusion.doctor.label_lag import look_at_lag
from avfusion.doctor.last_runs import last_runs, whole_runs
from avfusion.doctor.libraries import look_at_libraries
from avfusion.doctor.printing import print_report
from avfusion.doctor.published import look_at_batch_norm, look_at_maps, look_at_weights
from avfusion.doctor.report import GRAVITY, Item, Report
from avfusion.doctor.tuning import Tuning, tune
from avfusion.doctor.workload import Workload, rendered_workload, workload
from avfusion.experiments.stopping import few_groups_warning, part
from avfusion.params.params import Params, check_params, load_params
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.quantities import counted

__all__ = ["Item", "Report", "diagnose", "print_report"]


def diagnose(root: Path, *, tuning: bool = False, lag: bool = False) -> Report:
    """Examine the project in `root`; on request also measure the backbones, and the lag of the labels."""
    facts, items = look_at_environment(root)
    items += look_at_libraries(root)
    params, found = _params(root)
    items += found
    state, found, rendered = _corpus(root)
    items += found
    costs: Costs | None = None
    if params and (state or not rendered):
        work = _workload(params, state)
        costs = _costs(root, params, work, facts, current=state is not None and state.current)
        items += look_at_capacity(root, params, work, costs, facts) + look_at_maps(params, work)
    if params and state:
        items += _stopping(params, state)
    lags: dict[str, Any] | None = None
    if lag and params:
        item, lags = look_at_lag(root, params)
        items.append(item)
    measured: Tuning | None = None
    if tuning and params:
        try:
            measured = tune(root, params, cores=facts["cores"], clips=costs.clips if costs else None)
        except AVFusionError as error:
            items.append(Item("cost", "tuning", "warn", str(error)))
    warnings = {track.track: track.warnings for track in state.tracks if track.warnings} if state else {}
    return Report(
        items=tuple(sorted(items, key=lambda item: GRAVITY[item.status])),
        environment=facts,
        splits=split_facts(state) if state else {},
        tracks=dict(sorted(warnings.items())),
        cost=costs,
        tuning=measured,
        lag=lags,
    )


def _stopping(params: Params, state: CorpusState) -> list[Item]:
    """What an inner stopping split takes from training, or that there are too few groups for it."""
    stopping = params.train.stopping
    if warning := few_groups_warning(stopping, state.tracks):
        return [Item("corpus", "stopping split", "warn", warning)]
    if stopping == "validation":
        return []
    kept, apart = part([track for track in state.tracks if track.split == "train"])
    text = f"{counted(len(apart), 'track')} set aside to stop trainings, {counted(len(kept), 'track')} left to train on"
    return [Item("corpus", "stopping split", "ok", text)]


def _params(root: Path) -> tuple[Params | None, list[Item]]:
    try:
        params = load_params(root / "params.yaml")
    except BadInputError as error:
        return None, [Item("params", "params.yaml", "missing", str(error))]
    items = [Item("params", "params.yaml", "ok", f"valid; corpus {params.corpus.name} in {params.corpus.root}")]
    return params, items + look_at_weights(root, params) + look_at_batch_norm(params)


def _corpus(root: Path) -> tuple[CorpusState | None, list[Item], bool]:
    """State, findings (also if other sections of params.yaml are wrong), and whether there are raw data."""
    try:
        params = _section(root, "corpus").corpus
        render = _section(root, "render").render if params.name == "demo" else None
    except (BadInputError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # reported already
        return None, [], True
    if render and not is_rendered(corpus_root(root, params), render):
        text = f"{params.root} is not rendered yet: run `make demo`"
        items = [Item("corpus", "demo", "warn", text)]
        if note := removed_files(root, params, ()):
            items.append(Item("corpus", "other corpus", "warn", note))
        return None, items, False
    return *look_at_corpus(root, params), True


def _section(root: Path, name: str) -> Params:
    """A single section of params.yaml."""
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    return check_params({name: values[name]}, [name])


def _workload(params: Params, state: CorpusState | None) -> Workload:
    if state is None:
        return rendered_workload(params.render, params.geometry)
    return workload(
        state.tracks, state.known, state.sizes, params.geometry, state.own, truth=params.corpus.name == "demo"
    )


def _costs(root: Path, params: Params, work: Workload, facts: dict[str, Any], *, current: bool) -> Costs:
    last = last_runs(root, other_corpus=is_other_corpus(root, params.corpus))
    whole = whole_runs(root, last) if current else {}
    return estimate(work, params, cores=facts["cores"], last=last, whole=whole)
