"""Training of a backbone: it learns, stops, goes on after a break with the same bits, and says what is wrong."""

import json
import re
import shutil
from importlib.metadata import version

import numpy as np
import pytest
import torch

from avfusion.backbones.feature_files import update_features
from avfusion.backbones.registry import build_backbone, visual_transform
from avfusion.backbones.settings import BackboneSettings
from avfusion.backbones.weights import load_backbone, read_backbone_record
from avfusion.data.clips.sound import SoundClips
from avfusion.data.clips.visual import VisualClips
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, VisualTransform
from avfusion.data.features import read_features
from avfusion.data.labels import LabelTable, write_labels
from avfusion.experiments import backbones as backbone_runs
from avfusion.experiments.backbones import backbone_tasks, retrain, train_backbones, training_data
from avfusion.params.params import check_params
from avfusion.runtime.errors import AVFusionError
from avfusion.scoring.ccc import ccc
from avfusion.training import backbones
from avfusion.training.audio_backbone import audio_preparation
from avfusion.training.backbones import BackboneTrainer
from avfusion.training.batch_norm import batch_norms
from avfusion.training.precision import resolve_precision
from avfusion.training.visual_backbone import visual_preparation

PICTURE = VisualTransform(input_size=28)
PARAMS = BackboneSettings(
    name="narrow_r2plus1d",
    width=8,
    input_size=28,
    epochs=3,
    steps_per_epoch=6,
    batch_size=16,
    lr=5e-3,
    dropout=0.2,
    patience=3,
)


class BrokenOffError(Exception):
    """What a test ends a training with."""


def broken_off_after(epoch, fit, monkeypatch):
    """Run the training until the epoch is told: after its checkpoint was written."""

    def told(row):
        if row["epoch"] == epoch:
            raise BrokenOffError

    monkeypatch.setattr(fit, "_log", told)
    with pytest.raises(BrokenOffError):
        fit.fit()


@pytest.fixture
def clips(track_maker):
    geometry = ClipGeometry(fps=25)
    train = VisualClips([track_maker(str(n), n, frames=60) for n in range(4)], geometry, PICTURE)
    val = VisualClips([track_maker("v", 9, frames=60)], geometry, PICTURE, stride=8)
    return train, val


def trainer(clips, params=PARAMS, **options):
    torch.manual_seed(0)
    backbone = build_backbone("narrow_r2plus1d", stream="visual", width=8, input_size=28, dropout=params.dropout)
    return BackboneTrainer(backbone, visual_preparation(PICTURE), *clips, params, **options)


def test_it_learns_what_the_pictures_show(clips):
    fit = trainer(clips, PARAMS.model_copy(update={"epochs": 6, "steps_per_epoch": 15, "patience": 6}))
    history = fit.fit().history
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.2
    assert max(row["val_ccc_valence"] for row in history) > 0.5
    # The kept weights are those of the best epoch, and its score is the pooled CCC of the head.
    best = max(history, key=lambda row: row["val_ccc_mean"])
    assert fit.score(clips[1]) == (best["val_ccc_valence"], best["val_ccc_arousal"])
    prepared = fit.prepare(clips[1].load(np.arange(len(clips[1].targets))), None)
    with torch.inference_mode():
        predictions = fit.backbone.head(fit.backbone(prepared)).numpy()
    assert ccc(predictions[:, 0], clips[1].targets[:, 0]) == pytest.approx(best["val_ccc_valence"], abs=1e-4)


def test_mixed_precision_is_in_the_network_and_not_in_the_loss(track_maker, monkeypatch):
    # Of sound: oneDNN's gradients of narrow 3-D convolutions in bfloat16 read memory that nobody wrote (torch 2.11).
    made = SoundClips([track_maker(str(n), n, frames=60) for n in range(3)], ClipGeometry(fps=25), AudioTransform())
    params = PARAMS.model_copy(update={"name": "narrow_resnet", "input_size": 64, "epochs": 1})
    inside, outside, losses = set(), set(), []
    loss = backbones.ccc_loss
    monkeypatch.setattr(backbones, "ccc_loss", lambda *given: (outside.add(given[0].dtype), loss(*given))[1])
    for amp in ("bfloat16", "off"):
        torch.manual_seed(0)
        backbone = build_backbone("narrow_resnet", stream="audio", width=8)
        backbone.network.layer1.register_forward_hook(lambda module, given, output: inside.add(output.dtype))
        prepare, precision = audio_preparation(AudioTransform()), resolve_precision(amp, "cpu")
        fit = BackboneTrainer(backbone, prepare, made, made, params, precision=precision)
        losses.append(fit.fit().history[0]["train_loss"])
        assert (inside, outside) == ({torch.bfloat16} if amp == "bfloat16" else {torch.float32}, {torch.float32})
        inside.clear()
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] != losses[1]


def test_the_rate_rises_and_falls_once(clips):
    fit = trainer(clips)
    rates = []
    step = fit.schedule.step
    fit.schedule.step = lambda: (rates.append(fit.optimiser.param_groups[0]["lr"]), step())
    fit.fit()
    assert len(rates) == 18
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(PARAMS.lr, rel=0.1)
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert rates[-1] < 0.05 * PARAMS.lr


def test_broken_off_and_resumed_it_gives_the_same_bits(clips, tmp_path, capsys, monkeypatch):
    whole = trainer(clips)
    expected = whole.fit()
    broken_off_after(2, trainer(clips, checkpoints=tmp_path, fingerprint="f"), monkeypatch)
    capsys.readouterr()
    resumed = trainer(clips, checkpoints=tmp_path, fingerprint="f")
    torch.manual_seed(77)  # whatever state the new process is in
    assert resumed.fit() == expected
    told = capsys.readouterr().out
    assert "resumed after epoch 2" in told
    assert re.findall(r"epoch (\d): loss", told) == ["3"]
    ours, theirs = resumed.backbone.state_dict(), whole.backbone.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("mode", ["frozen", "train"])
def test_statistics_of_batch_norm_stay_or_follow_the_batches(clips, mode):
    fit = trainer(clips, batch_norm=mode)
    before = {name: value.clone() for name, value in fit.backbone.state_dict().items()}
    fit.fit()
    after = fit.backbone.state_dict()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    statistics = [name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(statistics) == 3 * len(batch_norms(fit.backbone))
    assert [same[name] for name in statistics] == [mode == "frozen"] * len(statistics)
    assert not any(same[name] for name in before if name not in statistics)  # scales and shifts learn too


def test_without_augmentation_clips_are_seen_as_validation_sees_them(clips):
    given = []
    for augment in (True, False):
        fit = trainer(clips, PARAMS.model_copy(update={"epochs": 1}), augment=augment)
        prepare = fit.prepare
        fit.prepare = lambda batch, generator, prepare=prepare: (given.append(generator), prepare(batch, generator))[1]
        fit.fit()
    steps, checks = PARAMS.steps_per_epoch, 1
    assert [generator is not None for generator in given] == [True] * steps + [False] * (2 * checks + steps)


def test_it_stops_when_validation_gets_no_better(clips):
    params = PARAMS.model_copy(update={"epochs": 9, "patience": 1, "lr": 1e-12, "dropout": 0.0})
    training = trainer(clips, params).fit()
    assert len(training.history) < 9
    assert len(training.history) == training.best_epoch + 1


@pytest.mark.parametrize("what", ["the loss", "a gradient", "the validation score"])
def test_what_is_not_finite_is_named_and_the_last_checkpoint_stays(what, clips, tmp_path, monkeypatch):
    broken_off_after(1, trainer(clips, checkpoints=tmp_path, fingerprint="f"), monkeypatch)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    names = {"the loss": r"(\d, )*2(, 3)?", "a gradient": r"\d(, \d)*", "the validation score": "v"}[what]
    where = "after epoch 2" if what == "the validation score" else r"at epoch 2, step \d"
    again = trainer(clips, checkpoints=tmp_path, fingerprint="f")
    if what == "the loss":
        owned = [clip for clip in range(len(clips[0].targets)) if clips[0].names(np.array([clip])) == ["2"]]
        clips[0].targets[owned] = np.nan
    elif what == "a gradient":
        loss, calls = backbones.ccc_loss, iter(range(100))

        def breaking(*arguments):
            value = loss(*arguments)
            return value if next(calls) != 3 else (value - value.detach()).sqrt() + 1

        monkeypatch.setattr(backbones, "ccc_loss", breaking)
        where = "at epoch 2, step 4"
    else:
        prepare = again.prepare
        again.prepare = lambda batch, generator: prepare(batch, generator) * (1 if generator else torch.nan)
    kept = rf"; the checkpoint of epoch 1 is kept in {tmp_path}: lower backbones\.visual\.lr, or set backbones\.amp"
    with pytest.raises(
        AVFusionError, match=rf"^visual backbone: {what} is not finite {where} \(tracks {names}\){kept}"
    ):
        again.fit()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_too_few_labels_are_named(clips):
    nothing = VisualClips([], ClipGeometry(fps=25), PICTURE)
    with pytest.raises(AVFusionError, match="0 labelled training clips"):
        trainer((nothing, clips[1])).fit()


def test_audio_learns_loudness(track_maker):
    geometry, sound = ClipGeometry(fps=25), AudioTransform()
    train = SoundClips([track_maker(str(n), n, frames=90) for n in range(4)], geometry, sound)
    val = SoundClips([track_maker("v", 9, frames=90)], geometry, sound, stride=4)
    torch.manual_seed(0)
    backbone = build_backbone("narrow_resnet", stream="audio", width=8)
    params = PARAMS.model_copy(update={"name": "narrow_resnet", "input_size": 64, "epochs": 5, "steps_per_epoch": 8})
    history = BackboneTrainer(backbone, audio_preparation(sound), train, val, params).fit().history
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.2
    assert max(row["val_ccc_arousal"] for row in history) > 0.3


def run(root, tracks, sections):
    return train_backbones(root, tracks, check_params(sections, list(sections)), root / ".avfusion" / "backbones")


def test_the_stage_leaves_weights_records_and_history(project):
    root, tracks, sections = project
    trainings = run(root, tracks, sections)
    for stream in ("audio", "visual"):
        backbone, record = load_backbone(root / "models" / "backbones", stream)
        assert record.identity.feature_dim == 64
        assert record.provenance["start"]["weights"] == "random"
        assert record.provenance["best_epoch"] == 1
        assert record.provenance["processes"] == 1
        assert record.provenance["params"]["batch_norm"] == "train"
        assert record.metrics["val_ccc_mean"] == pytest.approx(trainings[stream].history[0]["val_ccc_mean"])
        assert record.history == trainings[stream].history
        assert record.stamp.content == record.identity.sha256
        assert record.stamp.libraries["torch"] == version("torch")
        assert not backbone.training
    assert not list((root / ".avfusion").rglob("*.pt"))  # nothing is unfinished
    rows = (root / "reports" / "backbones" / "history.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,audio_lr,audio_train_loss,")
    assert rows[0].endswith(",visual_val_ccc_mean")
    assert len(rows) == 2


def test_again_from_nothing_it_gives_the_same_bytes_and_other_inputs_other_ones(project):
    root, tracks, sections = project
    run(root, tracks, sections)
    models = root / "models" / "backbones"
    first = contents(root)
    shutil.rmtree(models)
    run(root, tracks, sections)
    assert contents(root) == first

    before = read_backbone_record(models, "audio").stamp
    relabel(root)
    run(root, tracks, sections)
    after = read_backbone_record(models, "audio").stamp
    assert after.made != before.made
    assert after.code == before.code
    assert (models / "audio.safetensors").read_bytes() != first["audio.safetensors"]


def contents(root):
    return {path.name: path.read_bytes() for path in sorted((root / "models" / "backbones").iterdir())}


def relabel(root):
    arousal = np.linspace(-1, 1, 50, dtype=np.float32)
    table = LabelTable(np.zeros(50, np.float32), arousal, np.ones(50, bool))
    write_labels(table, root / "data" / "labels" / "b.parquet")


@pytest.fixture
def trained(project, monkeypatch):
    """A project whose backbones are trained, and the streams that are trained from now on."""
    root, tracks, sections = project
    run(root, tracks, sections)
    streams = []
    fit = BackboneTrainer.fit
    monkeypatch.setattr(BackboneTrainer, "fit", lambda self: (streams.append(self.backbone.stream), fit(self))[1])
    return root, tracks, sections, streams


def test_a_clone_that_pulled_the_results_trains_nothing(trained, capsys):
    root, tracks, sections, streams = trained
    before, history = contents(root), (root / "reports" / "backbones" / "history.csv").read_bytes()
    shutil.rmtree(root / ".avfusion", ignore_errors=True)
    shutil.rmtree(root / "reports")
    trainings = run(root, tracks, sections)
    assert not streams
    assert [len(training.history) for training in trainings.values()] == [1, 1]
    assert contents(root) == before
    assert (root / "reports" / "backbones" / "history.csv").read_bytes() == history
    assert capsys.readouterr().out.count("trained already, 1 epochs") == 2


def test_what_was_replaced_is_found_when_it_is_wanted_again(trained):
    root, tracks, sections, streams = trained
    before = contents(root)
    other = sections | {"backbones": sections["backbones"] | {"hue": 0.2}}
    run(root, tracks, other)
    assert streams == ["visual"]
    assert contents(root)["visual.safetensors"] != before["visual.safetensors"]
    run(root, tracks, sections)
    assert contents(root) == before
    run(root, tracks, other)
    assert streams == ["visual"]


def test_the_private_folder_keeps_the_newest(trained):
    root, tracks, sections, streams = trained
    hues = [n / 100 for n in range(1, 12)]
    for hue in hues:
        sections["backbones"]["visual"]["epochs"] = 0  # each takes the weights it starts from, at once
        run(root, tracks, sections | {"backbones": sections["backbones"] | {"hue": hue}})
    assert not streams
    kept = list((root / ".avfusion" / "backbones").iterdir())
    assert len(kept) == 2 * backbone_runs.KEPT
    found = {read_backbone_record(folder, "visual").provenance["params"]["hue"] for folder in kept}
    assert found == set(hues[-9:-1])


FAULTS = {
    "no JSON": ("visual.json", lambda path: path.write_text("{")),
    "no stamp": ("visual.json", lambda path: rewrite(path, stamp=None)),
    "a stamp that is none": ("visual.json", lambda path: rewrite(path, stamp={"made": 1})),
    "a history that is none": ("visual.json", lambda path: rewrite(path, history=[{"epoch": 1}])),
    "truncated weights": ("visual.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-4])),
    "no weights": ("visual.safetensors", lambda path: path.unlink()),
}


def rewrite(path, **changes):
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_result_is_trained_anew_and_said(fault, trained, capsys):
    root, tracks, sections, streams = trained
    before = contents(root)
    name, damage = FAULTS[fault]
    damage(root / "models" / "backbones" / name)
    run(root, tracks, sections)
    assert streams == ["visual"]
    assert contents(root) == before
    said = capsys.readouterr().out
    assert said.count("warning: ") == (fault != "no stamp")
    assert said.count(": trained anew\n") == (fault != "no stamp")


def test_other_code_of_one_stream_trains_that_stream(trained, monkeypatch):
    root, tracks, sections, streams = trained
    digest = backbone_runs.unit_digest
    monkeypatch.setattr(
        backbone_runs, "unit_digest", lambda unit, *more: f"{digest(unit, *more)}{'x' * (unit == 'audio_backbone')}"
    )
    before = contents(root)
    run(root, tracks, sections)
    assert streams == ["audio"]
    after = contents(root)
    assert after["audio.safetensors"] == before["audio.safetensors"]  # so nothing that is made from it becomes stale
    assert after["audio.json"] != before["audio.json"]


def test_files_that_are_no_result_are_removed(trained):
    root, tracks, sections, _ = trained
    before = contents(root)
    (root / "models" / "backbones" / "fold-9").mkdir()
    (root / "models" / "backbones" / "fold-9" / "left.txt").touch()
    (root / "models" / "backbones" / ".partial-1-audio.json").touch()
    run(root, tracks, sections)
    assert contents(root) == before


def test_trained_again_for_comparison_it_gives_the_kept_weights(trained):
    root, tracks, sections, streams = trained
    before = contents(root)
    params = check_params(sections, list(sections))
    audio = next(one for one in backbone_tasks(root, tracks, params, root / "work") if one.stream == "audio")
    assert retrain(audio) == read_backbone_record(root / "models" / "backbones", "audio").identity.sha256
    assert streams == ["audio"]
    assert contents(root) == before
    assert not (root / "work").exists()


def test_the_stage_trains_as_its_parameters_say(project, capsys):
    root, tracks, sections = project
    weights = {}
    settings = {
        "as it is": {},
        "plain": {"augmentation": False},
        "hue": {"hue": 0.2},
        "frozen": {"batch_norm": "frozen"},
    }
    for name, changes in settings.items():
        run(root, tracks, sections | {"backbones": sections["backbones"] | changes})
        said = capsys.readouterr().out
        assert ("its weights are random, so its statistics are those of no data" in said) == (name == "frozen")
        for stream in ("audio", "visual"):
            weights[name, stream] = (root / "models" / "backbones" / f"{stream}.safetensors").read_bytes()
    assert weights["as it is", "audio"] == weights["hue", "audio"]  # sound has no colours
    assert len(set(weights.values())) == 7


def test_frames_and_statistics_go_through_training_and_features(project):
    root, tracks, sections = project
    sections["backbones"] |= {"output": "map"}
    sections["backbones"]["visual"] |= {"name": "narrow_resnet_frames", "input_size": 48}
    sections["backbones"]["audio"] |= {"name": "log_mel_statistics"}
    sections["features"] = {"stride": 16, "batch_size": 4}
    run(root, tracks, sections)
    update_features(root, tracks, check_params(sections, list(sections)))
    table = read_features(root / "data" / "features" / "c.safetensors")
    assert table.visual.shape == (4, 64, 2, 2)
    assert table.audio.shape == (4, 128)
    assert table.feature_spec.visual == visual_transform("narrow_resnet_frames", 48)
    # Their mean over space is what the trained network gives for these crops.
    visual, _ = load_backbone(root / "models" / "backbones", "visual")
    params = check_params(sections, list(sections))
    prepare, _, val = training_data(root, tracks, params, "visual")()
    with torch.inference_mode():
        expected = visual(prepare(val.load(np.array([2])), None))  # ends at frame 17, as the second clip
    assert table.visual[1].mean(axis=(1, 2)) == pytest.approx(expected[0].numpy(), rel=2e-3, abs=2e-3)


def test_zero_epochs_keep_the_weights_they_start_from(project):
    root, tracks, sections = project
    run(root, tracks, sections)
    trained = (root / "models" / "backbones" / "visual.safetensors").rename(root / "start.safetensors")
    sections["backbones"]["visual"] |= {"epochs": 0, "weights": str(trained)}
    run(root, tracks, sections)
    assert (root / "models" / "backbones" / "visual.safetensors").read_bytes() == trained.read_bytes()
    assert "sha256" in read_backbone_record(root / "models" / "backbones", "visual").provenance["start"]


def test_clips_of_many_lengths_are_all_trained_on(clips):
    count = len(clips[0].targets)
    clips[0].shape_of = np.arange(count) // 10  # ten of a length, fewer than half a batch
    params = PARAMS.model_copy(update={"batch_size": 48, "steps_per_epoch": None, "epochs": 1})
    fit, seen = trainer(clips, params), []
    step = fit._step
    fit._step = lambda batch, *others: (seen.append(batch), step(batch, *others))[1]
    assert fit.steps == -(-count // 10)
    fit.fit()
    assert sorted(np.concatenate(seen)) == list(range(count))
    few = trainer(clips, params.model_copy(update={"steps_per_epoch": 1}))
    assert len(few.fit().history) == 1


def test_clips_of_rare_lengths_are_told(clips, capsys):
    clips[0].shape_of = (np.arange(len(clips[0].targets)) < 5).astype(int)
    trainer(clips, PARAMS.model_copy(update={"epochs": 1})).fit()
    assert f"5 of {len(clips[0].targets)} training clips are never seen: fewer than 8" in capsys.readouterr().out


def test_no_two_clips_of_one_length_is_an_error(clips):
    clips[0].shape_of = np.arange(len(clips[0].targets))
    with pytest.raises(AVFusionError, match=r"visual backbone: no batch can be made at epoch 1: no two of the"):
        trainer(clips).fit()
