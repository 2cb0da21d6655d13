"""A predictor in processes forked from one that has used torch's threads: the same values, and never a hang."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 240

# Two threads, since a fork loses OpenMP's helpers. Each way answers with tables as text.
SCRIPT = """
import concurrent.futures, multiprocessing, os, sys
first, model, video = sys.argv[1:]
if first != "torch alone":
    import avfusion
import torch
import torch.utils.data

torch.set_num_threads(2)
torch.nn.functional.conv2d(torch.ones(8, 8, 64, 64), torch.ones(8, 8, 3, 3)).sum()
fork = multiprocessing.get_context("fork")

def load():
    from avfusion import Predictor
    return Predictor.load(model)

def values(predictor):
    return predictor.analyse(video).persons[0].predictions.to_csv()

def loaded_before(_=None):
    return values(PREDICTOR)

def loaded_in_worker(_=None):
    return values(load())

def live(_=None):
    from avfusion.inference.live import predict_live
    found = []
    predict_live(PREDICTOR, video, lambda value: found.append(f"{value.frame} {value.valence}"), realtime=False)
    return ", ".join(found)

def in_pool(function, times=1):
    with fork.Pool(2) as pool:
        return pool.map(function, range(times))

def in_futures():
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool:
        return list(pool.map(loaded_before, range(1)))

def in_fork():
    reading, writing = os.pipe()
    if os.fork() == 0:
        with os.fdopen(writing, "w") as out:
            out.write(loaded_before())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as out:
        text = out.read()
    os.wait()
    return [text]

class Tables(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return loaded_before()

def in_loader():
    return list(torch.utils.data.DataLoader(Tables(), batch_size=None, num_workers=1, multiprocessing_context=fork))

def sent():
    with fork.Pool(1) as pool:
        return [table.to_csv() for table in pool.map(PREDICTOR.predict, [video])]

if first == "torch alone":
    found = in_pool(loaded_in_worker)
    PREDICTOR = load()
elif first == "load":
    PREDICTOR = load()
    found = in_pool(loaded_before)
else:
    PREDICTOR = load()
    values(PREDICTOR), live()
    found = [*in_pool(loaded_before, 4), *in_pool(loaded_in_worker), *in_futures(), *in_fork(), *in_loader(), *sent()]
    assert in_pool(live) == [live()]
wanted = values(PREDICTOR)  # the parent's own still works
assert wanted and all(text == wanted for text in found), (wanted, found)
print("same")
"""


@pytest.mark.parametrize("first", ["torch alone", "load", "predict"])
def test_predictions_in_a_fork_are_those_of_its_parent(trained_models: Path, short_video: Path, first: str) -> None:
    """Whatever the parent did first: used torch without this package, loaded a predictor, or predicted with it."""
    command = [sys.executable, "-c", SCRIPT, first, str(trained_models / "fusion"), str(short_video)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"no answer within {LIMIT_S} s")
    assert output.strip() == "same", errors[-2000:]
