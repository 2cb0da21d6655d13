"""A model that is not there, or of another feature spec, at every command that takes one."""

import json
import shutil

import pytest

COMMANDS = {
    "predict": ("predict", "video.mp4", "-o", "out"),
    "live": ("live", "--source", "video.mp4", "--no-realtime"),
    "export": ("export", "-o", "out"),
    "serve": ("serve", "--port", "0"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_cannot_be_used_is_one_line(project, trained_models, face_video, command):
    shutil.copyfile(face_video, project.root / "video.mp4")
    shutil.copytree(trained_models, project.root / "other")
    config = project.root / "other" / "fusion" / "config.json"
    values = json.loads(config.read_text())
    values["feature_spec"]["version"] = 1
    config.write_text(json.dumps(values))
    for model, words in (
        (("--model", "gone"), "error: there is no model folder gone: a folder, models:/… or runs:/… is needed"),
        (("--model", "models:/nobody@champion"), "error: no model at models:/nobody@champion: "),
        ((), "has no champion and no models/fusion: run `make demo`, or name a model with --model"),
        (("--model", config.parent), "error: feature spec of version "),
    ):
        done = project.avfusion(*COMMANDS[command], *model)
        assert done.code == 2, done
        assert words in done.error.splitlines()[-1]
        assert [line for line in done.error.splitlines()[:-1] if not line.startswith("model: ")] == []
    assert not (project.root / "out").exists()
