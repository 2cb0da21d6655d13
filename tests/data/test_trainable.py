"""Which corpora can train, and what is said of those that cannot."""

import pytest

from avfusion.corpora.layout import RawTrack
from avfusion.data.label_coverage import NOTHING_ANNOTATED, labels_nothing
from avfusion.data.trainable import is_unlabelled, refuse_unlabelled, refuse_untrainable, training_faults
from avfusion.runtime.errors import BadInputError


def track(name: str, split: str = "", labels: bool = True, video: bool = True) -> RawTrack:
    return RawTrack(name, name, split, f"{name}.mp4" if video else "", labels_path=f"{name}.csv" if labels else "")


WHOLE = [track("a", "train"), track("b", "val"), track("c", "test", labels=False)]


def test_a_labelled_track_in_each_of_train_and_val_is_enough():
    assert training_faults(WHOLE, "manifest") == []
    refuse_untrainable(WHOLE, "manifest")
    refuse_unlabelled(WHOLE)


@pytest.mark.parametrize(
    ("tracks", "corpus", "fault"),
    [
        (
            [track("a", "train"), track("b")],
            "manifest",
            "the split val is empty: write val into the column split of some rows of the manifest that have labels",
        ),
        (
            [track("a", "train", labels=False), track("b", "val")],
            "manifest",
            "no track of the split train has labels: name their files in the manifest's column labels",
        ),
        (
            [track("a", "train")],
            "affwild2",
            "the split val is empty: put annotation files into a folder Validation_Set",
        ),
        (
            [track("a", "train", video=False), track("b", "val")],
            "affwild2",
            "no labelled track of the split train has a video that can be read (a): copy the videos again",
        ),
    ],
)
def test_what_lacks_is_named_with_what_to_write(tracks, corpus, fault):
    assert training_faults(tracks, corpus) == [fault]
    with pytest.raises(BadInputError) as error:
        refuse_untrainable(tracks, corpus)
    assert str(error.value) == f"no model can be trained: {fault}"


def test_videos_known_to_be_unreadable_do_not_count():
    assert training_faults(WHOLE, "affwild2", {"b"}) == [
        "no labelled track of the split val has a video that can be read (b.mp4): copy the videos again"
    ]
    assert len(training_faults(WHOLE, "affwild2", {"a", "b"})) == 2


def test_labels_that_reach_no_frame_do_not_count():
    tracks = [track("a", "train"), track("b", "val"), track("c", "val")]
    assert training_faults(tracks, "manifest", bare={"b"}) == []
    (fault,) = training_faults(tracks, "manifest", bare={"a"})
    assert fault.startswith("no frame of the split train has a label (")
    assert labels_nothing(["x", NOTHING_ANNOTATED])
    assert labels_nothing(["the labels describe 100 to 101 s, the video has 0 to 1 s: no frame has a label"])
    assert not labels_nothing(["no audio stream: the audio is absent in every clip"])


def test_a_corpus_without_labels_is_refused_only_where_training_alone_follows():
    loose = [track("a", labels=False), track("b", "test", labels=False)]
    assert is_unlabelled(loose)
    refuse_untrainable(loose, "manifest")
    with pytest.raises(
        BadInputError, match=r"no track has labels: .*`avfusion predict VIDEO`.*`dvc repro frames audio`"
    ):
        refuse_unlabelled(loose)
    for meant in (track("c", "val", labels=False), track("d")):
        assert not is_unlabelled([*loose, meant])
        with pytest.raises(BadInputError, match="the split train is empty"):
            refuse_untrainable([*loose, meant], "manifest")
