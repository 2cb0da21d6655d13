"""On a Ray cluster: the same bytes, and crashes, hangs and dead nodes that cost only what they must."""

import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from avfusion.runtime.atomic import TEMPORARY_PREFIX
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.settings import ExecutionSettings

pytestmark = pytest.mark.ray
RAY = ExecutionSettings(executor="ray", workers=2)
NUMBERS = [(f"track{n}", n) for n in range(5)]


def stumble(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        time.sleep(600)
    if number == 3:
        raise AVFusionError("no. 3: a reason for people")
    return number + 100


def crash_on_one(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + 100


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a CPU each, to which this process is connected."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home folder
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory, face_video, half_heard_video, silent_video):
    """Crops and detected faces; brought up to date serially."""
    project = make_project(tmp_path_factory.mktemp("ray") / "project")
    project.add(face_video, name="found")
    project.add(half_heard_video, name="given", crops=60)
    project.add(silent_video, name="mute")
    project.scan()
    project.update()
    return project


@pytest.fixture
def empty(project, tmp_path):
    """The same corpus before its frames, sound and features are made."""
    empty = type(project)(Path(shutil.copytree(project.root, tmp_path / "project")))
    for folder in ("data/frames", "data/audio", "data/features", "reports/faces"):
        shutil.rmtree(empty.root / folder)
    return empty


def test_no_usage_is_reported(cluster):
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()


def test_a_hang_a_crash_and_an_error_cost_only_their_task(cluster):
    limits = {key: 600.0 for key, _ in NUMBERS} | {"track2": 2.0}
    outcomes = run_tasks(stumble, NUMBERS, executor="ray", workers=2, on_error="skip", limits_s=limits)
    assert [(o.key, o.value) for o in outcomes] == [
        (f"track{n}", None if n in (1, 2, 3) else n + 100) for n in range(5)
    ]
    assert outcomes[1].error.startswith("its worker process died (signal SIGSEGV)")
    assert outcomes[2].error == "took more than 2 s, given up"
    assert outcomes[3].error == "no. 3: a reason for people"


def test_a_task_without_a_limit_that_ends_rays_own_worker_costs_only_itself(cluster):
    outcomes = run_tasks(crash_on_one, NUMBERS, executor="ray", workers=2, on_error="skip")
    assert [o.value for o in outcomes] == [100, None, 102, 103, 104]
    assert outcomes[1].error.startswith("its Ray task died: ")


def test_every_stage_gives_the_bytes_of_serial_work(cluster, project, empty):
    reports = empty.update(RAY)
    assert reports["frames"].made == reports["features"].made == ("found", "given", "mute")
    assert reports["audio"].made == ("found", "given")
    assert empty.contents() == project.contents()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["frames", "audio", "features"])
def test_a_node_that_dies_in_the_middle_changes_nothing(cluster, make_project, tmp_path, face_video, stage):
    project = make_project(tmp_path / "project")
    for number in range(12):
        project.add(face_video, name=f"video{number:02d}")
    project.scan()
    project.update()
    expected, folder = project.contents(), project.root / "data" / stage
    shutil.rmtree(folder)
    node = cluster.add_node(num_cpus=2)
    (raylet,) = node.all_processes["raylet"]
    killed = []

    def die_at_work() -> None:
        """Like a machine that loses its power: when one of its processes works, and two files are finished."""
        while not killed:
            with suppress(psutil.NoSuchProcess):  # one that ended meanwhile
                there = psutil.Process(raylet.process.pid).children(recursive=True)
                names = [path.name for path in folder.glob("*") if not path.name.startswith(TEMPORARY_PREFIX)]
                # Ray names a worker process by what it does.
                if len(names) >= 2 and any(process.name().startswith("ray::_attempt") for process in there):
                    for process in [psutil.Process(raylet.process.pid), *there]:
                        process.kill()
                    killed.extend(there)
            time.sleep(0.01)

    watcher = threading.Thread(target=die_at_work, daemon=True)
    watcher.start()
    report = project.update(ExecutionSettings(executor="ray", workers=4), stages=[stage])[stage]
    watcher.join(1)
    cluster.remove_node(node, allow_graceful=False)
    assert killed, "the node was at work when it died"
    assert len(report.made) == 12
    assert project.contents() == expected
