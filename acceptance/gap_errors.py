"""How far audio alone is off while the voice is lost (bursts of noise, pauses), against the rest of the test tracks."""

from pathlib import Path

import numpy as np
import pandas as pd

CLEARLY = 1.1  # times the error outside


def main() -> None:
    """Compare root mean square errors over both targets."""
    root = Path.cwd()
    tables = []
    for path in sorted((root / "reports/evaluate/predictions").glob("*.parquet")):
        truth = root / "data/raw/demo/truth" / path.name
        columns = ["frame", "burst", "pause"]
        tables.append(
            pd.read_parquet(path).merge(pd.read_parquet(truth, columns=columns), on="frame").assign(t=path.stem)
        )
    frames = pd.concat(tables)
    frames = frames[frames.valid & frames.audio_present & frames.t.isin(_test_tracks(root))]
    squares = sum((frames[f"audio_only_{name}"] - frames[f"true_{name}"]) ** 2 for name in ("valence", "arousal"))
    outside = ~(frames.burst | frames.pause)
    errors = {
        name: float(np.sqrt((squares[mask] / 2).mean()))
        for name, mask in (("bursts", frames.burst), ("pauses", frames.pause), ("both", ~outside), ("outside", outside))
    }
    words = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    print(f"audio error {words}")
    raise SystemExit(int(min(errors["bursts"], errors["pauses"]) < CLEARLY * errors["outside"]))


def _test_tracks(root: Path) -> list[str]:
    table = pd.read_parquet(root / "data/corpus/tracks.parquet")
    return table[table.split == "test"].track.tolist()


if __name__ == "__main__":
    main()
