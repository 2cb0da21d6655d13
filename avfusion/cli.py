"""The command `avfusion`. Heavy imports stand inside the commands, so that `--help` costs none of them."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avfusion.errors import AVFusionError, describe_os_error

app = typer.Typer(
    help="Valence and arousal for every frame of a video, by joint cross-attention of face and voice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class CompareSplit(StrEnum):
    """Tracks that a comparison is scored on."""

    val = "val"
    test = "test"


class StreamChoice(StrEnum):
    """What a prediction may use."""

    both = "both"
    audio = "audio"
    visual = "visual"


class Published(StrEnum):
    """A published checkpoint."""

    tsav = "tsav"
    jointcam = "jointcam"


class SubmitSplit(StrEnum):
    """What the stage `evaluate` predicts."""

    test = "test"
    val = "val"


class SubmitFormat(StrEnum):
    """A challenge's form of submission."""

    abaw3 = "abaw3"
    abaw5 = "abaw5"


@app.command()
def predict(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO…", help="Video files.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URI|DIR",
            help="models:/avfusion@champion, runs:/…, or a folder. Default: the champion, else models/fusion.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Folder for the CSVs. Default: beside each video.")
    ] = None,
    stream: Annotated[
        StreamChoice, typer.Option(help="Use one stream as if the other were absent.")
    ] = StreamChoice.both,
    stride: Annotated[
        int | None, typer.Option(metavar="N", help="Frames between clips, a divisor of 32. Default: the model's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Overwrite another video's CSV.")] = False,
) -> None:
    """Write <stem>.csv (a row per video frame) and <stem>.trace.png for each video.

    Exit status: 0 all done; 2 some input was bad (named), the others are done; 1 something failed.
    """
    from avfusion.inference.batch import predict_files
    from avfusion.inference.predictor import Predictor

    predictor = Predictor.load(model, device=device)
    if model is None:
        print(f"model: {predictor.source}", file=sys.stderr)
    code = predict_files(videos, predictor, folder=out, stream=stream.value, stride=stride, force=force)
    raise typer.Exit(code)


@app.command()
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
        bool, typer.Option("--smooth/--no-smooth", help="By evaluate.smoothing_*, as the published results were.")
    ] = True,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Give tracks without predictions 0, 0 in every frame.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another submission.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write the evaluated predictions as challenge files, and read them back to validate every row.

    Exit status: 0 done; 2 predictions, sample or PATH cannot be used; 1 something failed.
    """
    from avfusion.inference.submission import submit as write_submission
    from avfusion.project import project_root

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


@app.command()
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
    from avfusion.project import project_root

    with redirect_stdout(sys.stderr):  # progress of a tuning
        report = diagnose(project_root(), tuning=tune)
    if as_json:
        print(report.to_json())
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)


@app.command("import-weights")
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
        typer.Option(
            metavar="DIR", help="jointcam: folder of the imported tsav. Default: beside the one that is written."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier import.")] = False,
) -> None:
    """Turn a published checkpoint into safetensors that params.yaml and `predict` can name; runs nothing in it.

    Exit status: 0 done; 2 FILE or DIR cannot be used; 1 something failed.
    """
    from avfusion.inference.import_weights import import_jointcam, import_tsav
    from avfusion.model_names import IMPORT_FOLDER
    from avfusion.project import project_root

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
        print("stages that used the earlier import are made anew by `dvc repro --force --downstream backbones`")


@app.command()
def scan(
    if_there: Annotated[
        bool, typer.Option("--if-there", help="Do nothing where the folder is not there, as after `dvc pull`.")
    ] = False,
) -> None:
    """Look at the raw files of the corpus and write data/sources.txt, on which the pipeline depends.

    A demo corpus that is not (completely) rendered is left to `dvc repro`, which renders and scans it. `make repro`
    scans by itself.
    """
    from avfusion.project import project_root

    _scan(project_root(), if_there=if_there)


@app.command()
def preset(
    name: Annotated[str, typer.Argument(help="Name of a file in configs/, without .yaml.", show_default=False)],
    root: Annotated[str | None, typer.Option(metavar="PATH", help="Folder of the raw data.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a params.yaml that was edited.")] = False,
) -> None:
    """Write params.yaml from configs/NAME.yaml, and scan the corpus where its folder exists."""
    from avfusion.config import load_params
    from avfusion.presets import write_preset
    from avfusion.project import project_root

    project = project_root()
    path = write_preset(project, name, root, force)
    print(f"{path.relative_to(project)}: preset {name}")
    corpus = load_params(path, ["corpus"]).corpus
    if corpus.name == "demo" or (project / Path(corpus.root).expanduser()).is_dir():
        _scan(project)
        if corpus.name != "demo":
            print("next: `avfusion doctor` says what is missing and what a run costs, `make repro` runs the pipeline")
    else:
        print(f"{corpus.root} does not exist: set corpus.root, then run `avfusion scan`", file=sys.stderr)


@app.command()
def register() -> None:
    """Put models/fusion into the MLflow registry, unless it is there; prints the decision on its alias."""
    from avfusion.config import load_params
    from avfusion.project import project_root
    from avfusion.tracking.registry import ensure_registered

    root = project_root()
    name = load_params(root / "params.yaml", ["register"]).register_.name
    done = ensure_registered(root / "models" / "fusion", root=root, name=name)
    state = "registered as" if done.created else "already registered as"
    print(f"{name} {done.digest[:12]}: {state} version {done.version}, {done.decision} ({done.reason})")


@app.command()
def compare(
    models: Annotated[
        str, typer.Option(metavar="A,B,…", help="Fusion models. Default: all that take the cached features.")
    ] = "",
    seeds: Annotated[str, typer.Option(metavar="N,N,…", help="Training seeds.")] = "0,1,2",
    split: Annotated[CompareSplit, typer.Option(help="Tracks to score.")] = CompareSplit.val,
) -> None:
    """Train fusion models with several seeds on the cached features and write reports/compare/.

    Interrupted, the same command goes on; with more models or seeds it trains only those. Exit status: 0 done; 2 a
    model, params.yaml or the features cannot be used; 1 something failed.
    """
    from avfusion.errors import BadInputError
    from avfusion.model_names import FUSION_OPTIONS
    from avfusion.project import project_root
    from avfusion.tracking.comparison import run_comparison

    names = [name.strip() for name in models.split(",") if name.strip()]
    try:
        numbers = list(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError:
        raise BadInputError(f"--seeds is {seeds!r}: whole numbers with commas between them are needed") from None
    every = [name for name in FUSION_OPTIONS if name != "released_coattention"]
    print(run_comparison(project_root(), list(dict.fromkeys(names or every)), numbers, split.value))


@app.command()
def sweep(
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Finished trials that the study is to have, all told. Default: sweep.trials."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="AVFUSION_SWEEP_STORAGE",
            help="postgresql://USER:PASSWORD@HOST/DATABASE for many machines. Default: a file of the project.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes here, one thread each.")] = 1,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best point into params.yaml.")] = False,
) -> None:
    """Search for better parameters of `train` (section sweep of params.yaml), or go on with a search.

    Ctrl-C ends it after the current epochs; the same command goes on. Exit status: 0 done; 2 params.yaml or the
    study cannot be used; 1 something failed, or no trial was completed.
    """
    from avfusion.sweep.command import run_sweep

    run_sweep(trials=trials, storage=storage, workers=workers, apply=apply)


@app.command()
def summary() -> None:
    """Print scores, times per stage, and what to do next."""
    from avfusion.project import project_root
    from avfusion.summary import print_summary

    print_summary(project_root())


def _scan(project: Path, *, if_there: bool = False) -> None:
    from avfusion.config import load_params
    from avfusion.corpora.adapters import corpus_root, open_corpus
    from avfusion.corpora.sources import scan as scan_corpus
    from avfusion.corpora.switching import removed_files

    params = load_params(project / "params.yaml", ["corpus"]).corpus
    folder = corpus_root(project, params)
    if params.name == "demo":
        from avfusion.corpora.demo.render import is_rendered

        if not is_rendered(folder, load_params(project / "params.yaml", ["render"]).render):
            print("the demo corpus is not rendered yet: `dvc repro` does it")
            _note(removed_files(project, params, ()))
            return
    if if_there and not folder.is_dir():
        print(f"{params.root} is not there: what is known of it stays as it was scanned")
        return
    print(f"{params.root}: {scan_corpus(folder, params, project / 'data' / 'sources.txt')}")
    _note(removed_files(project, params, open_corpus(params, folder).tracks))


def _note(text: str) -> None:
    if text:
        print(f"note: {text}", file=sys.stderr)


def main() -> None:
    """Run the command; an error that a user can act on is one line, without a traceback."""
    try:
        app()
    except AVFusionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:  # disk full, no permission
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
