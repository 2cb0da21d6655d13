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
    """Gives, of a stage, the bytes it leaves and the seconds from its first sign of work to its end."""

    @cache
    def run(stage):
        if stage == "features":
            project.update(stages=["frames", "audio"])
        remove_outs(project, stage)
        process = project.start(stage)
        began = wait_for_work(project, stage, process)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        return project.contents(*FOLDERS[stage]), time.monotonic() - began

    return run


def remove_outs(project, stage: str) -> None:
    for folder in FOLDERS[stage]:
        shutil.rmtree(project.root / folder, ignore_errors=True)


def wait_for_work(project, stage, process: "subprocess.Popen[str]") -> float:
    """Wait until the stage has made its folder; the moment of that."""
    while not (project.root / FOLDERS[stage][0]).exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    return time.monotonic()


def kill_and_rerun(project, stage: str, contents: dict[str, bytes], delay_s: float) -> int:
    """Kill the stage this long after it began to work, run it again, check; gives how many files it had finished."""
    remove_outs(project, stage)
    process = project.start(stage)
    wait_for_work(project, stage, process)
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished = project.identities(*FOLDERS[stage])
    for path in finished:
        assert (project.root / path).read_bytes() == contents[path], "never half a file under a final name"

    output = project.run(stage)
    after = project.identities(*FOLDERS[stage])
    summary = "reports/faces/summary.csv"
    assert {path: after[path] for path in finished if path != summary} == {
        path: identity for path, identity in finished.items() if path != summary
    }, "no finished file is made again"
    assert project.contents(*FOLDERS[stage]) == contents
    kept = sum(path.startswith(FOLDERS[stage][0]) for path in finished)
    total = sum(path.startswith(FOLDERS[stage][0]) for path in contents)
    assert re.search(rf"^{stage}: {total - kept} made, {kept} kept, 0 removed, 0 failed$", output, re.MULTILINE), output
    return kept


def moments(count: int, seed: int) -> list[float]:
    """Random shares of a run, one in each `count`-th of it."""
    draw = random.Random(seed)
    return [(part + draw.random()) / count for part in range(count)]


@pytest.mark.parametrize("stage", ["audio", "frames"])  # torch makes `features` dear
def test_killed_once(project, undisturbed, stage):
    contents, seconds = undisturbed(stage)
    kill_and_rerun(project, stage, contents, 0.6 * seconds)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", FOLDERS)
def test_killed_at_ten_moments(project, undisturbed, stage):
    contents, seconds = undisturbed(stage)
    kept = [kill_and_rerun(project, stage, contents, moment * seconds) for moment in moments(10, seed=2)]
    print(f"{stage}: {seconds:.1f} s of work; finished when killed: {kept}")
    assert len(set(kept)) > 2, "the moments are spread over the work"
