"""DVC stage `render`: the demo corpus, and the list of sources that every corpus starts from."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.sources import scan
from avfusion.stages import stage


def main() -> None:
    """Render what is missing of the demo corpus (nothing for other corpora) and write data/sources.txt."""
    with stage("render", "corpus", "render") as s:
        out = s.root / "data" / "raw" / "demo"
        out.mkdir(parents=True, exist_ok=True)  # DVC expects it, empty for other corpora
        if s.params.corpus.name == "demo":
            render_demo(out, s.params.render, s.params.execution)
        scan(corpus_root(s.root, s.params.corpus), s.params.corpus, s.root / "data" / "sources.txt")


if __name__ == "__main__":
    main()
