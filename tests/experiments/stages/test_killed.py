"""kill -9 of a stage's process group, whenever: a rerun finishes, keeps what was done, and leaves the same bytes."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from functools import cache

import pytest

VIDEOS = 6
FOLDERS = {"audio": ["data/audio"], "frames": ["data/frames", "reports/faces"], "features": ["data/features"]}


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory, face_video, half_heard_video, silent_video):
    """Every other video has crops, the faces of the others are detected; all stages have run undisturbed."""
    project = make_project(tmp_path_factory.mktemp("killed") / "project")
    sources = (face_video, half_heard_video, silent_video)
    for number in range(VIDEOS):
        project.add(sources[number % 3], name=f"video{number}", crops=60 * (number % 2))
    project.scan()
    return project


@pytest.fixture(scope="module")
def undisturbed(project):
    """Gives the bytes that a stage leaves when nobody kills it, and the seconds from file to file."""

    @cache
    def run(stage):
        if stage == "features":
            project.update(stages=["frames", "audio"])
        remove_outs(project, stage)
        project.run(stage)
        times = [path.stat().st_mtime for path in (project.root / FOLDERS[stage][0]).iterdir()]
        return project.contents(*FOLDERS[stage]), (max(times) - min(times)) / len(times)

    return run


def remove_outs(project, stage: str) -> None:
    for folder in FOLDERS[stage]:
        shutil.rmtree(project.root / folder, ignore_errors=True)


def finished_files(project, stage: str) -> dict[str, tuple[int, int]]:
    """Identity of what stands under a final name; the summary of all frames is written at every end."""
    found = project.identities(*FOLDERS[stage])
    return {path: identity for path, identity in found.items() if path != "reports/faces/summary.csv"}


def in_store(paths, stage: str) -> int:
    return sum(path.startswith(FOLDERS[stage][0]) for path in paths)


def kill(project, stage: str, finished: int, delay_s: float) -> None:
    """Start the stage without outs; kill its group this long after so many files of its store were finished."""
    remove_outs(project, stage)
    process = project.start(stage)
    store = project.root / FOLDERS[stage][0]
    while process.poll() is None and (not store.exists() or in_store(finished_files(project, stage), stage) < finished):
        time.sleep(0.002)
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def kill_and_rerun(project, stage: str, contents: dict[str, bytes], finished: int, delay_s: float) -> int:
    """Kill the stage, run it again to its end, and check; gives how many files it had finished when it was killed."""
    kill(project, stage, finished, delay_s)
    before = finished_files(project, stage)
    for path in before:
        assert (project.root / path).read_bytes() == contents[path], "half a file under a final name"
    output = project.run(stage)
    after = finished_files(project, stage)
    assert {path: after[path] for path in before} == before, "a finished file was made again"
    assert project.contents(*FOLDERS[stage]) == contents
    kept, total = in_store(before, stage), in_store(contents, stage)
    assert re.search(rf"^{stage}: {total - kept} made, {kept} kept, 0 removed, 0 failed$", output, re.MULTILINE), output
    return kept


@pytest.mark.parametrize("stage", ["audio", "frames"])  # torch makes `features` dear
def test_killed_once(project, undisturbed, stage):
    contents, _ = undisturbed(stage)
    kill_and_rerun(project, stage, contents, 2, 0.02)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", FOLDERS)
def test_killed_at_ten_moments(project, undisturbed, stage):
    """Spread over the run: after 0, 1, … all files are finished, and then within about the time that one file takes."""
    contents, pause_s = undisturbed(stage)
    total = in_store(contents, stage)
    draw = random.Random(2)
    moments = [(round(part / 9 * total), draw.uniform(0, pause_s)) for part in range(10)]
    kept = [kill_and_rerun(project, stage, contents, *moment) for moment in moments]
    print(f"{stage}: of {total} files were finished when it was killed: {kept}")
    assert len(set(kept)) > total / 2
