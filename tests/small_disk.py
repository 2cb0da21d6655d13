"""Disks of a few KiB, for tests of what becomes of full ones."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def mount(*arguments: object) -> bool:
    return not subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[Path, int], Callable[[int], None]]]:
    """Mounts a disk of a few KiB at a folder; what it gives changes its size."""
    mounted: list[Path] = []

    def small(folder: Path, kib: int) -> Callable[[int], None]:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if not mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder):
                pytest.skip("a disk can only be mounted by root")
        except FileNotFoundError:
            pytest.skip("there is no command mount")
        mounted.append(folder)
        return lambda larger: pytest.fail("remount") if not mount("-o", f"remount,size={larger}k", folder) else None

    yield small
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
