"""DVC stage `render`: the demo corpus, and the list of sources that every corpus starts from."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.demo.render import leave_unrendered, render_demo
from avfusion.corpora.settings import DEMO_ROOT
from avfusion.corpora.source_hashes import MEMORY
from avfusion.corpora.sources import scan
from avfusion.experiments.stage import stage


def main() -> None:
    """Render what is missing of the demo corpus (nothing for other corpora) and write data/sources.txt."""
    with stage("render", "corpus", "render") as s:
        out = s.root / DEMO_ROOT
        if s.params.corpus.name == "demo":
            render_demo(out, s.params.render, s.params.execution)
        else:
            leave_unrendered(out)
        folder = corpus_root(s.root, s.params.corpus)
        scan(folder, s.params.corpus, s.root / "data" / "sources.txt", s.root / MEMORY)


if __name__ == "__main__":
    main()
