"""Scores on a corpus that published weights were trained on are marked, and no others."""

import pytest

from avfusion.backbones.origins import ORIGINS, OWN_FILE
from avfusion.backbones.seen_data import SeenData, seen_data

TSAV, KINETICS, RANDOM = (ORIGINS[name] for name in ("tsav", "kinetics400", "random"))


@pytest.mark.parametrize(
    ("audio", "visual", "corpus", "marks"),
    [
        (TSAV, TSAV, "affwild2", {"val": "may have", "test": ""}),
        (RANDOM, TSAV, "affwild2", {"val": "may have", "test": ""}),
        (TSAV, TSAV, "manifest", {"val": "", "test": ""}),
        (RANDOM, KINETICS, "affwild2", {"val": "", "test": ""}),
        (RANDOM, OWN_FILE, "manifest", {"val": "unknown", "test": "unknown"}),
        (TSAV, OWN_FILE, "affwild2", {"val": "may have", "test": "unknown"}),
    ],
)
def test_marks(audio, visual, corpus, marks) -> None:  # type: ignore[no-untyped-def]
    seen = seen_data({"audio backbone": audio, "visual backbone": visual}, corpus)
    assert {split: seen.on(split).mark for split in ("val", "test")} == marks
    assert bool(seen.notes) == any(marks.values())


def test_the_note_names_the_weights_once() -> None:
    seen = seen_data({"audio backbone": TSAV, "visual backbone": TSAV, "fusion model": ORIGINS["jointcam"]}, "affwild2")
    assert seen.mark == "may have"
    assert [note.count("may have seen validation videos") for note in seen.notes] == [1, 1]
    assert "audio backbone and the visual backbone" in seen.notes[0]
    assert "arXiv 2002.03399" in seen.notes[0]
    assert "fusion model" in seen.notes[1]
    assert seen_data({}, "affwild2") == SeenData()
