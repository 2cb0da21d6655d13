"""`avfusion serve` under load: 100 uploads, 8 at a time, every fifth of them bad, of these ten that ask for much.

Claims, each of which fails the script: every upload is answered, the bad ones by the right status and in words, the
others with the numbers of `Predictor.predict`; no file is left while the server runs, none after it has ended; the
memory of the server and of all its processes is flat: after the second fifth of the time it grows by no more than
100 MB (allocators settle).
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import requests

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
UPLOADS, AT_A_TIME, BAD_EVERY, JOBS = 100, 8, 5, 2
LIMIT_MB, GROWTH_MB, SAMPLE_S = 2, 100, 0.25
BOMBS = (
    "stts, stsc and stsz.mp4",
    "stts.mp4",
    "stsz.mp4",
    "ctts.mp4",
    "elst.mp4",
    "counts.mp4",
    "mpeg4.avi",
    "libvpx.webm",
    "1 Hz.wav",
    "1 Hz.mkv",
)


class Bad(NamedTuple):
    """An upload that is refused, with status and words of the answer."""

    content: bytes
    status: int
    words: str


def memory_mb(process: int) -> tuple[float, float]:
    """Resident memory of a process alone, and with all that descend from it (what they share is counted for each)."""
    children: dict[int, list[int]] = {}
    resident: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        resident[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    waiting, total = [process], 0.0
    while waiting:
        one = waiting.pop()
        total += resident.get(one, 0.0)
        waiting += children.get(one, [])
    return resident.get(process, 0.0), total


def good_uploads(folder: Path) -> dict[str, Path]:
    """Videos by name: with face and sound, with either."""
    from tests.conftest import write_video

    return {
        "both.mp4": write_video(folder / "both.mp4"),
        "silent.mp4": write_video(folder / "silent.mp4", sound=False),
        "faceless.mp4": write_video(folder / "faceless.mp4", face=False),
    }


def bad_uploads(video: bytes, folder: Path) -> dict[str, Bad]:
    """Bad uploads by name; `folder` is for making them."""
    from tests.fuzz import bombs

    holes = bytearray(video)
    holes[100:-100] = bytes(len(video) - 200)
    bad = {
        "corrupt.mp4": Bad(bytes(holes), 400, "damaged"),
        "empty.mp4": Bad(b"", 400, "is empty"),
        "large.mp4": Bad(bytes(LIMIT_MB * 1_500_000), 413, "which is the limit"),
        "text.mp4": Bad(b"no video at all\n" * 100, 400, "it is a text file"),
        "truncated.mp4": Bad(video[: len(video) // 2], 400, "truncated"),
    }
    for name in BOMBS:
        bombs.BOMBS[name](folder / name)
        bad[name] = Bad((folder / name).read_bytes(), 400, name)
    return bad


def plan(good: Iterable[str], bad: Iterable[str]) -> list[str]:
    """Names of the uploads in their order."""
    goods, bads = cycle(good), cycle([name for name in bad if name not in BOMBS])
    bombs = cycle(BOMBS)
    return [next(goods) if i % BAD_EVERY else next(bombs) if i // BAD_EVERY % 2 else next(bads) for i in range(UPLOADS)]


def upload(url: str, name: str, content: bytes) -> tuple[int, dict[str, Any]]:
    """Send a video, wait for its result, delete it; the status of the first answer that is final, and its content."""
    answer = requests.post(f"{url}/api/jobs", files={"video": (name, content)}, timeout=120)
    if answer.status_code != 202:
        return answer.status_code, answer.json()
    job = f"{url}/api/jobs/{answer.json()['id']}"
    while requests.get(job, timeout=60).json()["state"] in ("waiting", "running"):
        time.sleep(0.2)
    result = requests.get(f"{job}/result", timeout=60)
    requests.delete(job, timeout=60).raise_for_status()
    return result.status_code, result.json()


def wait_for(condition: Callable[[], bool], limit_s: float = 10) -> bool:
    """Whether it becomes true in time."""
    until = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


@contextmanager
def watched(process: int) -> Iterator[list[tuple[float, float]]]:
    """Provide `memory_mb` of a process now, and a few times a second from now on."""
    samples, ended = [memory_mb(process)], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            samples.append(memory_mb(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def same(content: dict[str, Any], expected: "pd.DataFrame") -> bool:
    """Whether a result has these predictions."""
    found = content.get("columns", {})
    return list(found) == list(expected.columns) and all(
        np.allclose(found[name], expected[name], rtol=0, atol=1e-6) for name in found
    )


def main() -> None:
    """Print what happened; exit 1 where a claim does not hold."""
    sys.path.insert(0, str(ROOT))
    from avfusion import Predictor
    from tests.conftest import write_model
    from tests.serving.conftest import start_server

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_model(folder / "models")
        good = good_uploads(folder)
        bad = bad_uploads(good["both.mp4"].read_bytes(), folder)
        contents = {name: path.read_bytes() for name, path in good.items()} | {n: b.content for n, b in bad.items()}
        expected = {name: Predictor.load(model).predict(path) for name, path in good.items()}
        server = start_server(model, folder / "temporary", "--jobs", JOBS, "--max-size", LIMIT_MB)
        started = time.perf_counter()
        with watched(server.process.pid) as memory, ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(pool.map(lambda name: (name, *upload(server.url, name, contents[name])), plan(good, bad)))
        seconds = time.perf_counter() - started
        faults = [] if wait_for(lambda: not server.files()) else [f"files are left: {sorted(server.files())}"]
        code = server.stop()
        faults += [] if code == 0 else [f"it ended with {code}"]
        faults += [f"left behind: {path}" for path in server.temporary.iterdir()]
    for name, status, content in answers:
        if name in bad and (status != bad[name].status or bad[name].words not in str(content.get("error"))):
            faults.append(f"{name}: {status} {json.dumps(content)[:200]}")
        if name in good and (status != 200 or not same(content, expected[name])):
            faults.append(f"{name}: {status}, other numbers")
    alone, tree = zip(*memory, strict=True)
    fifth = len(tree) // 5
    settled, last = median(tree[fifth : 2 * fifth]), median(tree[-fifth:])
    if last - settled > GROWTH_MB:
        faults.append(f"memory grew by {last - settled:.0f} MB, must be at most {GROWTH_MB}")
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(Counter(a[1] for a in answers).items()))
    print(f"{len(answers)} uploads, {AT_A_TIME} at a time, in {seconds:.1f} s: {statuses}")
    print(
        f"load {os.getloadavg()[0]:.1f}; {seconds / (UPLOADS - UPLOADS // BAD_EVERY):.2f} s a good video, jobs {JOBS}"
    )
    print(
        f"memory of all processes: {tree[0]:.0f} MB idle, {settled:.0f} MB in the second fifth of the time, "
        f"{last:.0f} MB in the last (medians), {max(tree):.0f} MB at most"
    )
    print(f"of the server alone: {alone[0]:.0f} MB idle, {max(alone):.0f} MB at most, {alone[-1]:.0f} MB at the end")
    print("\n".join(faults) or "every one answered, no file left, memory flat")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
