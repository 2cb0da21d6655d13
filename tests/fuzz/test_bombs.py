"""What a small file costs does not depend on what it asks for."""

import time
from pathlib import Path

import pytest

from avfusion.data.settings import FramesSettings
from avfusion.inference.streams import StreamReader
from avfusion.runtime.errors import BadInputError
from tests.fuzz.bombs import BOMBS

READ = {"stsc.mp4", "ctts alone.mp4", "0 Hz.mkv", "2.14748e+09 Hz.mkv", "nan Hz.mkv", "segment.mkv"}
MOST_BYTES = 1e9
LONG_S = 60  # on a busy machine; on an idle one each takes less than 10 s


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_costs_little(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BOMBS[name](path)
    reader, started, told = StreamReader(), time.monotonic(), ""
    try:
        streams = reader.read(path, tmp_path, stream="both", settings=FramesSettings(), progress=None)
        assert len(streams.time_s) == 50, "its pictures are there"
    except BadInputError as refusal:
        told = str(refusal)
    assert (name in READ) == (told == "")
    assert not told or str(path) in told
    assert time.monotonic() - started < LONG_S
    for worker in reader._idle:
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
        (peak,) = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
        assert peak < MOST_BYTES
