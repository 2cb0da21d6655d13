"""`avfusion serve` under load: 100 uploads, 8 at a time, every fifth of them bad.

Claims, each of which fails the script: every upload is answered, the bad ones by the right status and in words, the
others with equal numbers; no file is left while the server runs, none after it has ended; the memory of the server and
of all its processes is flat: after the first fifth of the uploads it grows by no more than 100 MB (allocators settle).
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
UPLOADS, AT_A_TIME, BAD_EVERY, JOBS = 100, 8, 5, 2
LIMIT_MB, GROWTH_MB = 2, 100


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


def bad_uploads(video: bytes) -> dict[str, tuple[bytes, int, str]]:
    """Content, status and words of the answer, by name."""
    holes = bytearray(video)
    holes[100:-100] = bytes(len(video) - 200)
    return {
        "corrupt.mp4": (bytes(holes), 400, "damaged"),
        "empty.mp4": (b"", 400, "is empty"),
        "large.mp4": (bytes(LIMIT_MB * 1_500_000), 413, "which is the limit"),
        "text.mp4": (b"no video at all\n" * 100, 400, "it is a text file"),
        "truncated.mp4": (video[: len(video) // 2], 400, "truncated"),
    }


def upload(url: str, name: str, content: bytes) -> tuple[int, dict[str, object]]:
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


def main() -> None:
    """Print what happened; exit 1 where a claim does not hold."""
    sys.path.insert(0, str(ROOT))
    from tests.conftest import write_model, write_video
    from tests.serving.conftest import start_server

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = write_model(folder / "models")
        video = write_video(folder / "face.mp4").read_bytes()
        bad = bad_uploads(video)
        server = start_server(model, folder / "temporary", "--jobs", JOBS, "--max-size", LIMIT_MB)
        plan = [
            (list(bad)[i // BAD_EVERY % len(bad)], True) if i % BAD_EVERY == 0 else (f"video-{i}.mp4", False)
            for i in range(UPLOADS)
        ]
        memory, answers = [memory_mb(server.process.pid)], []
        started = time.perf_counter()

        def one(entry: tuple[str, bool]) -> tuple[str, bool, int, dict[str, object]]:
            name, is_bad = entry
            done = (name, is_bad, *upload(server.url, name, bad[name][0] if is_bad else video))
            memory.append(memory_mb(server.process.pid))
            return done

        with ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(pool.map(one, plan))
        seconds = time.perf_counter() - started
        nothing_left = wait_for(lambda: not server.files())
        alone, tree = zip(*memory, strict=True)
        settled, last = max(tree[: UPLOADS // 5 + 1]), tree[-1]
        code = server.stop()
        faults = [] if nothing_left else [f"files are left: {sorted(server.files())}"]
        faults += [] if code == 0 else [f"it ended with {code}"]
        faults += [f"left behind: {path}" for path in server.temporary.iterdir()]
        first = next(content["columns"] for _, is_bad, _, content in answers if not is_bad)
        for name, is_bad, status, content in answers:
            if is_bad and (status != bad[name][1] or bad[name][2] not in str(content.get("error"))):
                faults.append(f"{name}: {status} {json.dumps(content)[:200]}")
            if not is_bad and (status != 200 or content["columns"] != first):
                faults.append(f"{name}: {status}, other numbers")
        if last - settled > GROWTH_MB:
            faults.append(f"memory grew by {last - settled:.0f} MB, must be at most {GROWTH_MB}")
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(Counter(a[2] for a in answers).items()))
    print(f"{len(answers)} uploads of {len(video) / 1e3:.0f} kB, {AT_A_TIME} at a time, in {seconds:.1f} s: {statuses}")
    print(
        f"load {os.getloadavg()[0]:.1f}; {seconds / (UPLOADS - UPLOADS // BAD_EVERY):.2f} s a good video, jobs {JOBS}"
    )
    print(f"memory of all processes: {tree[0]:.0f} MB idle, {settled:.0f} MB after a fifth, {last:.0f} MB at the end")
    print(f"of the server alone: {alone[0]:.0f} MB idle, {max(alone):.0f} MB at most, {alone[-1]:.0f} MB at the end")
    print("\n".join(faults) or "every one answered, no file left, memory flat")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
