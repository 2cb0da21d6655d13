"""Choose the adapter that reads the folder of a corpus."""

from dataclasses import replace
from pathlib import Path

from avfusion.corpora.acted import ACTED
from avfusion.corpora.affwild2 import open_affwild2
from avfusion.corpora.layout import CorpusLayout
from avfusion.corpora.manifest import open_manifest
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.errors import BadInputError


def open_demo(params: CorpusSettings, root: Path) -> CorpusLayout:
    """As `open_affwild2`; the tracks' truth is a source, too, since the evaluation depends on it."""
    layout = open_affwild2(params, root)
    truth = (f"truth/{track.track}.parquet" for track in layout.tracks)
    return replace(layout, extra_sources=(*layout.extra_sources, *(path for path in truth if (root / path).is_file())))


ADAPTERS = {"demo": open_demo, "affwild2": open_affwild2, "manifest": open_manifest, **ACTED}


def corpus_root(project: Path, params: CorpusSettings) -> Path:
    """The folder of the raw data: `corpus.root`, absolute or relative to the project."""
    return project / Path(params.root).expanduser()


def open_corpus(params: CorpusSettings, root: Path) -> CorpusLayout:
    """Find the tracks of the corpus whose raw data are in `root`.

    Raises:
        BadInputError: the folder holds no such corpus, or its tracks contradict each other.
    """
    if params.name not in ADAPTERS:
        raise BadInputError(f"corpus.name is {params.name!r}: must be one of {', '.join(sorted(ADAPTERS))}")
    if params.name == "demo" and not root.is_dir():
        raise BadInputError(
            f"the demo corpus is not rendered ({root} is missing): run `make demo` or `dvc repro render`"
        )
    return ADAPTERS[params.name](params, root)
