"""The server's folder, and those that killed servers left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avfusion.runtime.scratch import scratch_folder, sweep_scratch

KILLED = """
import os, signal
from avfusion.runtime.scratch import scratch_folder
with scratch_folder("serve") as folder:
    (folder / "video").touch()
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_goes_with_its_owner_however_that_ends(temporary: Path) -> None:
    with scratch_folder("serve") as folder:
        (folder / "job").mkdir()
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0, "for its owner alone"
        assert [path.name for path in temporary.iterdir()] == [folder.name]
    assert list(temporary.iterdir()) == []
    with pytest.raises(RuntimeError), scratch_folder("serve"):
        raise RuntimeError
    assert list(temporary.iterdir()) == []


def test_only_folders_of_servers_that_are_gone_are_swept(temporary: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, env=os.environ | {"TMPDIR": str(temporary)}
    )
    left = Path(done.stdout.strip())
    assert (left / "video").exists()
    others = tmp_path / "others"
    others.mkdir()
    (others / "in-use").touch()
    (temporary / "avfusion-serve-link").symlink_to(others)
    (temporary / "avfusion-serve-without-lock").mkdir()
    (temporary / "somebody").mkdir()
    with scratch_folder("serve") as living:
        assert not left.exists()
        sweep_scratch()
        assert living.exists()
        names = {path.name for path in temporary.iterdir()}
        assert names == {living.name, "avfusion-serve-link", "avfusion-serve-without-lock", "somebody"}
        assert others.exists()
