"""What the pictures say in words, and that the words are inside of them and not over each other."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from avfusion.reports.plots import bars, comparison, curves, plane, robustness
from avfusion.reports.plots.style import DPI, WIDEST, model_title
from avfusion.reports.report import interval_facts, metrics_table
from avfusion.scoring.conditions import KINDS
from avfusion.scoring.intervals import few_note
from avfusion.scoring.track_predictions import TrackPredictions

MODELS = ("audio_only", "jca")


def _track(split: str, number: int, labelled: bool = True) -> TrackPredictions:
    rng = np.random.default_rng(number)
    labels = rng.uniform(-0.8, 0.8, (50, 2)).astype(np.float32)
    return TrackPredictions(
        track=f"{split}-{number}",
        video=f"{split}-{number}",
        split=split,
        time_s=np.arange(50) / 25,
        labels=labels,
        valid=np.full(50, labelled),
        presence=np.ones((50, 2), bool),
        predictions={"jca": labels * 0.6, "audio_only": labels * -0.3},
        features="f",
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    for module in (bars, comparison, curves, plane, robustness):
        monkeypatch.setattr(module, "save_png", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize(
    ("videos", "words"),
    [
        (1, "val: 50 frames, 1 track; too few videos for an interval"),
        (9, f"val: 450 frames, 9 tracks; 95 % intervals over effectively 9.0 videos ({few_note(9)})"),
        (20, "val: 1,000 frames, 20 tracks; 95 % intervals over effectively 20.0 videos"),
    ],
)
def test_bars_have_room_for_their_words(drawn: list[Figure], videos: int, words: str) -> None:
    splits = {split: [_track(split, number) for number in range(videos)] for split in ("val", "test")}
    metrics = metrics_table(splits, MODELS, windows_s=(0.12, 0.12))
    bars.plot_ccc(Path("ccc.png"), metrics, MODELS, interval_facts(splits)["notes"])
    (figure,) = drawn
    figure.canvas.draw()
    parts = [(part, axes) for part in figure.subfigs for axes in part.axes]
    texts = [text for part, axes in parts for text in (axes.title, *axes.texts, *axes.get_yticklabels())]
    texts += [text for part in figure.subfigs for text in part.findobj(Text) if text.get_text() == part.get_suptitle()]
    assert [text.get_text() for text in texts].count(words) == 1
    boxes = {text: text.get_window_extent() for text in texts}
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes.values())
    over = [(a.get_text(), b.get_text()) for a, b in itertools.combinations(texts, 2) if boxes[a].overlaps(boxes[b])]
    assert over == []


def test_the_plane_counts_tracks_with_labels(drawn: list[Figure]) -> None:
    plane.plot_plane(Path("plane.png"), [_track("val", 0), _track("val", 1), _track("val", 2, False)], "jca", "val")
    assert drawn[0].get_suptitle() == "joint cross-attention, val split, 100 labelled frames of 2 tracks"


@pytest.mark.parametrize(
    ("videos", "words"),
    [
        (19, "19 videos (effectively 19.0) and 3 seeds; few videos: intervals may be too narrow"),
        (20, "20 videos (effectively 20.0) and 3 seeds"),
    ],
)
def test_a_comparison_of_few_videos_says_so(drawn: list[Figure], videos: int, words: str) -> None:
    scores = {f"{kind}_{name}": 0.5 for kind in ("ccc", "low", "high") for name in ("valence", "arousal", "mean")}
    comparison.plot_comparison(
        Path("comparison.png"),
        [{"model": "jca", "videos": videos, "effective_videos": float(videos), "seeds": 3} | scores],
    )
    assert drawn[0].get_suptitle() == f"dots: mean over seeds; lines: 95 % intervals over {words}"
    assert len(drawn[0].axes) == 3


def test_a_comparison_shows_the_difference_to_joint_cross_attention(drawn: list[Figure]) -> None:
    rows: list[dict[str, object]] = []
    for model, score, difference in (("late", 0.6, (0.1, -0.02, 0.2)), ("jca", 0.5, (None, None, None))):
        scores = {f"{kind}_{name}": score for kind in ("ccc", "low", "high") for name in ("valence", "arousal", "mean")}
        keys = ("minus_jca_mean", "minus_jca_mean_low", "minus_jca_mean_high")
        rows.append(
            {"model": model, "videos": 30, "effective_videos": 30.0, "seeds": 1}
            | scores
            | dict(zip(keys, difference, strict=True))
        )
    comparison.plot_comparison(Path("comparison.png"), rows)
    *scored, paired = drawn[0].axes
    assert len({axes.get_xlim() for axes in scored}) == 1
    line, dot, zero = paired.lines
    assert (list(line.get_xdata()), list(dot.get_xdata()), list(zero.get_xdata())) == ([-0.02, 0.2], [0.1], [0, 0])
    assert paired.get_xlabel() == "CCC minus that of joint cross-attention"


def test_a_variants_title_says_of_which_model() -> None:
    assert model_title("jca, modality dropout 0.3") == "joint cross-attention, modality dropout 0.3"
    assert model_title("leader_follower") == "leader follower"


def test_levels_stand_at_their_numbers_and_what_was_not_disturbed_at_0(drawn: list[Figure]) -> None:
    variant = "jca, modality dropout 0.3"
    rows = [
        {"kind": kind, "level": level, "model": model}
        | {f"ccc_{target}{end}": 0.5 for target in ("valence", "arousal") for end in ("", "_low", "_high")}
        for kind, entry in KINDS.items()
        for level in (None, *entry.levels)
        for model in ("jca", variant)
    ]
    robustness.plot_robustness(Path("robustness.png"), rows, "jca", "test")
    (figure,) = drawn
    figure.canvas.draw()
    # Two bands of panels: four kinds, then the others, each with a row per target.
    panels = {kind: figure.axes[number // 4 * 8 + number % 4] for number, kind in enumerate(KINDS)}
    below = {kind: figure.axes[number // 4 * 8 + number % 4 + 4] for number, kind in enumerate(KINDS)}
    assert list(panels["audio_shift"].lines[1].get_xdata()) == [-4, -2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 4]
    assert "0" in [text.get_text() for text in below["audio_shift"].get_xticklabels()]
    assert list(panels["blur"].lines[1].get_xdata()) == [0, 1, 2, 4]
    assert list(panels["babble"].lines[1].get_xdata()) == [0, 1, 2, 3, 4, 5]
    names = [text.get_text() for text in below["babble"].get_xticklabels()]
    assert names == ["clean", "20", "10", "5", "0", "-5"]
    styles = {line.get_label(): line.get_linestyle() for line in panels["blur"].lines[1:]}
    assert styles == {"joint cross-attention": "-", "joint cross-attention, modality dropout 0.3": "--"}
    assert not figure.axes[-1].axison, "a place without a kind"
    assert figure.get_figwidth() <= WIDEST


def test_curves_of_averaged_weights_show_the_weights_themselves_as_well(drawn: list[Figure]) -> None:
    splits = {"train": 0.7, "val": 0.6, "raw_val": 0.5}
    scores = {f"{split}_ccc_{t}": value for split, value in splits.items() for t in ("valence", "arousal", "mean")}
    curves.plot_curves(
        Path("c.png"), {"jca": [{"epoch": e, "loss": 1.0, "lr": 1e-3} | scores for e in (1, 2)]}, {"jca": 1}
    )
    found = [(line.get_linestyle(), list(line.get_ydata())) for line in drawn[0].axes[0].lines[:3]]
    assert found == [("-", [0.6, 0.6]), ("--", [0.7, 0.7]), (":", [0.5, 0.5])]


@pytest.mark.parametrize(("models", "panels"), [(1, 2), (4, 8), (6, 16)])
def test_curves_of_many_models_fit_a_page(drawn: list[Figure], models: int, panels: int) -> None:
    scores = {f"{split}_ccc_{target}": 0.5 for split in ("train", "val") for target in ("valence", "arousal")}
    history = [{"epoch": epoch, "loss": 1.0, "lr": 1e-3} | scores for epoch in (1.0, 2.0)]
    names = ["jca", "leader_follower", "cross_attention", "self_attention", "recursive_jca", "late"][:models]
    curves.plot_curves(Path("curves.png"), dict.fromkeys(names, history), dict.fromkeys(names, 2))
    (figure,) = drawn
    figure.canvas.draw()
    assert len(figure.axes) == panels
    assert sum(axes.axison for axes in figure.axes) == 2 * models
    assert figure.get_figwidth() * DPI <= 1200
    titles = [axes._left_title for axes in figure.axes if axes.get_title(loc="left")]  # type: ignore[attr-defined]
    assert titles[0].get_text() == "joint cross-attention\nbest epoch 2 of 2"
    boxes = [title.get_window_extent() for title in titles]
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
