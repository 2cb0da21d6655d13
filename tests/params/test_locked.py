"""Parameters of dvc.lock against params.yaml."""

from avfusion.params.locked import changed_keys


def test_sections_and_single_keys() -> None:
    now = {"train": {"stopping": "inner", "lr": 1}, "audio": {"n_mels": 64}}
    assert changed_keys({"audio": {"n_mels": 64}, "train.stopping": "inner"}, now) == set()
    assert changed_keys({"audio": {"n_mels": 40}, "train.stopping": "inner"}, now) == {"audio"}
    assert changed_keys({"train.stopping": "validation", "gone.key": 1}, now) == {"train.stopping", "gone.key"}
