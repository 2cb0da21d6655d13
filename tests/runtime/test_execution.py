"""Serial and process execution: equal results; failures, hangs and deaths cost only their own task."""

import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.extras import MissingExtraError
from avfusion.runtime.progress import TaskProgress

NUMBERS = [(f"track{n}", n) for n in range(7)]


def square(number: int) -> int:
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise AVFusionError("no. 3: a reason for people")
    if number == 5:
        return 1 // 0
    return number


def die_on_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + 100


def exit_on_two(number: int) -> int:
    if number == 2:
        os._exit(7)
    return number


def hang_on_two(number: int) -> int:
    if number == 2:
        time.sleep(600)
    return number + 100


def process_seen(_: int) -> int:
    return os.getpid()


def threads_seen(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def gpu_seen(number: int) -> str | None:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def unpicklable(_: int) -> object:
    return lambda: 0


def touch_and_wait(folder: str, number: int) -> None:
    (Path(folder) / f"{number}").write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_values_come_in_the_order_of_the_tasks(executor):
    outcomes = run_tasks(square, NUMBERS, executor=executor, workers=3, label="squares")
    assert [(o.key, o.value, o.error) for o in outcomes] == [(f"track{n}", n * n, None) for n in range(7)]


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_failing_task_is_recorded_and_the_others_go_on(executor):
    outcomes = run_tasks(fail_on_three, NUMBERS, executor=executor, workers=2, label="x", on_error="skip")
    assert [o.value for o in outcomes] == [0, 1, 2, None, 4, None, 6]
    assert outcomes[3].error == "no. 3: a reason for people"
    assert outcomes[5].error is not None
    assert outcomes[5].error.startswith("ZeroDivisionError: ")
    assert "test_execution.py:" in outcomes[5].error


def test_of_many_failures_all_are_listed_and_the_error_names_the_first(capsys):
    tasks = [(f"track{n:03d}", 3) for n in range(200)]
    with pytest.raises(AVFusionError) as raised:
        run_tasks(fail_on_three, tasks, label="numbers")
    named = "; ".join(f"track{n:03d}: no. 3: a reason for people" for n in range(5))
    assert str(raised.value) == f"numbers: 200 of 200 failed: {named}; and 195 more, listed above"
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed == [f"  track{n:03d}: no. 3: a reason for people" for n in range(200)]


def test_failures_are_raised_together_after_all_have_run():
    with pytest.raises(AVFusionError, match=r"numbers: 2 of 7 failed: track3: no\. 3.*; track5: ZeroDivision"):
        run_tasks(fail_on_three, NUMBERS, label="numbers")


@pytest.mark.parametrize(("function", "how"), [(die_on_two, "signal SIGKILL"), (exit_on_two, "exit code 7")])
def test_a_dead_worker_costs_only_its_task(function, how):
    outcomes = run_tasks(function, NUMBERS, executor="processes", workers=2, label="x", on_error="skip")
    assert [o.key for o in outcomes if o.error] == ["track2"]
    assert outcomes[2].error is not None
    assert how in outcomes[2].error
    assert [o.value for o in outcomes if not o.error] == [function(n) for n in range(7) if n != 2]


@pytest.mark.parametrize("executor", ["serial", "processes"])
@pytest.mark.parametrize(
    ("function", "limit_s", "reason"),
    [
        (hang_on_two, 2.0, "took more than 2 s, given up"),
        (die_on_two, 600.0, "its worker process died (signal SIGKILL)"),
    ],
    ids=["hang", "death"],
)
def test_with_a_limit_a_hang_or_death_costs_only_its_task(executor, function, limit_s, reason):
    limits = dict.fromkeys((key for key, _ in NUMBERS), 600.0) | {"track2": limit_s}
    outcomes = run_tasks(function, NUMBERS, executor=executor, workers=2, label="x", on_error="skip", limits_s=limits)
    assert [o.value for o in outcomes] == [100, 101, None, 103, 104, 105, 106]
    assert outcomes[2].error.startswith(reason)


def test_serial_work_happens_here_unless_it_has_limits():
    assert {o.value for o in run_tasks(process_seen, NUMBERS)} == {os.getpid()}
    (other,) = {o.value for o in run_tasks(process_seen, NUMBERS, limits_s={"track0": 60.0})}
    assert other != os.getpid(), "one worker, for those without a limit too"


def test_workers_have_one_thread_and_the_parent_keeps_its_setting(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run_tasks(threads_seen, NUMBERS[:1], executor="processes", label="x")[0].value == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_a_result_that_cannot_be_sent_is_an_error_of_that_task():
    outcome = run_tasks(unpicklable, NUMBERS[:1], executor="processes", label="x", on_error="skip")[0]
    assert outcome.error is not None
    assert outcome.error.startswith("the result cannot be sent")


def test_ray_without_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed; .* extra \[ray\]"):
        run_tasks(square, NUMBERS, executor="ray", label="x")


SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
sys.path.insert(0, {tests!r})
from functools import partial
from avfusion.runtime.execution import run_tasks
from test_execution import touch_and_wait
if __name__ == "__main__":
    run_tasks(partial(touch_and_wait, {folder!r}), [("a", 0), ("b", 1)], executor="processes", workers=2, label="x")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupt_and_kill_leave_no_worker_behind(tmp_path, sent):
    script = tmp_path / "run.py"
    started = tmp_path / "started"
    started.mkdir()
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(started)))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for(lambda: len(list(started.iterdir())) == 2 and all(p.read_text() for p in started.iterdir()))
        workers = [int(path.read_text()) for path in started.iterdir()]
        os.kill(process.pid, sent)
        process.wait(20)
        _wait_for(lambda: not any(_alive(pid) for pid in workers), 10)
    finally:
        for pid in [int(path.read_text() or 0) for path in started.iterdir()] + [process.pid]:
            if pid and _alive(pid):
                os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_plain_progress_ends_with_count_rate_and_failures():
    stream = StringIO()
    with TaskProgress("frames", [1.0, 1.0], Console(file=stream, width=200)) as progress:
        progress.advance(1.0)
        progress.advance(1.0, failed=True)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("frames: 2/2 done in ")
    assert lines[0].endswith("/s), 1 failed")


def test_plain_progress_speaks_about_every_ten_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("avfusion.runtime.progress.time.monotonic", lambda: now[0])
    stream = StringIO()
    with TaskProgress("frames", [1.0] * 10, Console(file=stream, width=200)) as progress:
        for second in range(1, 35):
            now[0] = float(second)
            if second in (15, 25):
                progress.advance(1.0)
            progress.tick()
    assert stream.getvalue().splitlines()[:3] == [
        "frames: 0/10, for 10 s",
        "frames: 1/10, 3.0/min, 2:10 left",
        "frames: 2/10, 4.0/min, 1:35 left",
    ]


def test_the_time_left_goes_by_the_tasks_weights(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("avfusion.runtime.progress.time.monotonic", lambda: now[0])
    stream = StringIO()
    with TaskProgress("frames", [1.0, 1.0, 98.0], Console(file=stream, width=200)) as progress:
        now[0] = 10.0
        progress.advance(1.0)
        now[0] = 20.0
        progress.advance(1.0)
        now[0] = 1000.0
        progress.advance(98.0)
    assert stream.getvalue().splitlines() == [
        "frames: 1/3, 0.10/s, 16:30 left",
        "frames: 2/3, 0.10/s, 16:20 left",
        "frames: 3/3 done in 1000.0 s (0.2/min)",
    ]


def test_the_time_left_counts_down_while_nothing_ends(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("avfusion.runtime.progress.time.monotonic", lambda: now[0])
    stream = StringIO()
    with TaskProgress("backbones", [1.0, 1.0], Console(file=stream, width=200)) as progress:
        now[0] = 100.0
        progress.advance(1.0)
        for second in (130.0, 190.0, 220.0):
            now[0] = second
            progress.tick()
    assert stream.getvalue().splitlines()[:4] == [
        "backbones: 1/2, 0.6/min, 1:40 left",
        "backbones: 1/2, 0.5/min, 1:10 left",
        "backbones: 1/2, 0.3/min, 0:10 left",
        "backbones: 1/2, 0.3/min",
    ]


@pytest.mark.ray
def test_ray_gives_what_serial_gives(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    pytest.importorskip("ray")
    serial = run_tasks(square, NUMBERS, executor="serial", label="x", on_error="skip")
    assert run_tasks(square, NUMBERS, executor="ray", workers=2, label="x", on_error="skip") == serial


@pytest.mark.parametrize(("visible", "expected"), [(None, {"0", "1"}), ("5,GPU-7", {"5", "GPU-7"})])
def test_workers_are_spread_over_gpus(monkeypatch, visible, expected):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    outcomes = run_tasks(gpu_seen, NUMBERS, executor="processes", workers=2, gpus=2, on_error="skip")
    assert outcomes[2].error is not None
    assert {outcomes[0].value, outcomes[1].value} == expected, "each worker has one"
    assert {outcomes[n].value for n in (3, 4, 5, 6)} <= expected, "also after one of them died"
    alone = run_tasks(gpu_seen, NUMBERS[:1], executor="processes", workers=1)
    assert alone[0].value == visible, "without GPUs nothing is changed"
