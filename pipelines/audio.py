"""DVC stage `audio`: videos -> data/audio/<video>.wav."""

from avfusion.corpora.adapters import corpus_root
from avfusion.corpora.table import read_tracks
from avfusion.data.audio_store import update_audio
from avfusion.experiments.stage import stage


def main() -> None:
    """Bring the audio files up to date."""
    with stage("audio", "common", "corpus", "audio") as s:
        report = update_audio(
            s.root / "data" / "audio",
            corpus_root(s.root, s.params.corpus),
            read_tracks(s.root / "data" / "corpus" / "tracks.parquet"),
            s.params.audio,
            s.params.execution,
            s.params.common.on_error,
        )
        s.record_failures(report.failed)


if __name__ == "__main__":
    main()
