"""Memory of `audio`, `frames`, `features` and `predict` on a video of two hours, against ten minutes: it must not grow.

The video has 25 fps, a face that moves, and stereo sound; its crops are there, or faces are detected. Features are
those of narrow backbones with random weights, at stride 32. Each stage runs in a process of its own, whose peak of
resident memory is printed (`predict`: the larger one of it and of the process that decodes). The videos are made once,
in the temporary folder.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avfusion.params.params import Params

FPS, SIZE, RATE = 25, 80, 44100
MINUTES = (10, 120)
STAGES = ("audio", "frames, crops", "frames, detected", "features", "predict")
LIMIT_MB, GROWTH_MB = 1024, 150  # of which imported libraries take 700 to 800 where torch runs
LINKS = 50_000  # file systems allow so many names of one file; the crops are few pictures under many names


def make_video(path: Path) -> None:
    """Ten minutes of a face that moves a little, with a tone that swells; H.264 and AAC."""
    from fractions import Fraction

    import av
    import cv2
    import numpy as np
    from skimage.data import astronaut

    picture = cv2.resize(astronaut()[:256, 96:352], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    pictures = [np.ascontiguousarray(np.roll(picture, shift, axis=1)) for shift in (0, 1, 2, 1)]
    time_s = np.arange(RATE) / RATE
    second = np.tile(np.sin(2 * np.pi * 220 * time_s) * np.sin(np.pi * time_s) * 0.3, (2, 1)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30"})
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="stereo")
        for index in range(MINUTES[0] * 60 * FPS):
            frame = av.VideoFrame.from_ndarray(pictures[index // 10 % len(pictures)], "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            if index % FPS == 0:
                sound = av.AudioFrame.from_ndarray(second, "fltp", "stereo")
                sound.sample_rate, sound.pts, sound.time_base = RATE, index // FPS * RATE, Fraction(1, RATE)
                container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())


def repeat_video(source: Path, path: Path, times: int) -> None:
    """The same packets again and again, each time later."""
    import av

    with av.open(str(source)) as first, av.open(str(path), "w") as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in first.streams}
        for turn in range(times):
            first.seek(0)
            for packet in first.demux():
                if packet.dts is None or (turn and packet.pts < 0):  # the end mark; the encoder's lead-in
                    continue
                later = round(turn * MINUTES[0] * 60 / packet.time_base)
                packet.pts, packet.dts, packet.stream = (
                    packet.pts + later,
                    packet.dts + later,
                    streams[packet.stream_index],
                )
                container.mux(packet)


def make_crops(folder: Path, frames: int) -> None:
    """Ready crops of every frame."""
    import cv2
    from skimage.data import astronaut

    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, frames, LINKS):
        picture = cv2.cvtColor(astronaut()[30:254, 110:334], cv2.COLOR_RGB2BGR)
        crop = cv2.imencode(".jpg", cv2.resize(picture, (112, 112)), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        original = folder / f"{first + 1:06d}.jpg"
        original.write_bytes(crop)
        for number in range(first + 2, min(first + LINKS, frames) + 1):
            if not (name := folder / f"{number:06d}.jpg").exists():
                os.link(original, name)


def run_stage(stage: str, folder: Path, minutes: int, out: Path) -> tuple[float, float]:
    """Run a stage on one video; peak of resident memory in MB, and seconds."""
    import resource

    from avfusion.backbones.feature_files import update_features
    from avfusion.corpora.source_hashes import crops_source, file_source
    from avfusion.corpora.table import Track
    from avfusion.data.audio_store import update_audio
    from avfusion.data.frame_store import update_frames
    from avfusion.data.settings import AudioSettings, FramesSettings

    frames = minutes * 60 * FPS
    ready = stage == "frames, crops"
    track = Track(
        track="long",
        video="long",
        split="train",
        video_path=f"{minutes}.mp4",
        crops_paths=(f"crops-{minutes}",) if ready else (),
        labels_path="",
        video_hash=file_source(folder / f"{minutes}.mp4").digest,
        crops_hash=crops_source(folder / f"crops-{minutes}").digest if ready else "",
        labels_hash="",
        frames=frames,
        fps=FPS,
        duration_s=60.0 * minutes,
        has_audio=True,
        label_rows=0,
        crops=frames,
        warnings=(),
    )
    params = narrow_params()
    started = time.perf_counter()
    if stage == "audio":
        update_audio(out / "data" / "audio", folder, [track], AudioSettings(), params.execution)
    elif stage == "features":
        update_features(out, [track], params)
    elif stage == "predict":
        predict(folder / f"{minutes}.mp4", out)
    else:
        update_frames(out / "data" / "frames", out / "faces", folder, [track], FramesSettings(), params.execution)
    seconds = time.perf_counter() - started
    # The stage may decode in a process of its own.
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(peaks) / 1024, seconds


def narrow_params() -> "Params":
    """What stages need: narrow backbones, one feature per 32 frames, all in one process."""
    from avfusion.params.params import check_params

    visual, audio = {"name": "narrow_r2plus1d", "input_size": 28}, {"name": "narrow_resnet", "input_size": 64}
    sections: dict[str, dict[str, Any]] = {
        "common": {},
        "geometry": {"fps": FPS},
        "audio": {},
        "backbones": {"visual": visual | {"width": 4}, "audio": audio | {"width": 4}},
        "features": {"stride": 32},
        "execution": {"executor": "serial", "workers": 1},
    }
    return check_params(sections, [name for name in sections if name != "execution"])


def make_model(out: Path) -> None:
    """Narrow backbones and a fusion model of random weights."""
    from avfusion.backbones.feature_files import STREAMS, feature_spec
    from avfusion.backbones.registry import build_backbone
    from avfusion.backbones.weights import save_backbone
    from avfusion.fusion import build_fusion
    from avfusion.fusion.files import save_fusion

    params, records = narrow_params(), {}
    for stream in STREAMS:
        wanted = getattr(params.backbones, stream)
        network = build_backbone(wanted.name, stream=stream, width=wanted.width, input_size=wanted.input_size)
        records[stream] = save_backbone(out / "models" / "backbones", network)
    dimensions = {f"{stream}_dim": records[stream].identity.feature_dim for stream in STREAMS}
    spec = feature_spec(params, records).to_dict()
    save_fusion(out / "models" / "fusion", build_fusion("jca", length=16, **dimensions), {"feature_spec": spec})


def make_stores(out: Path, minutes: int) -> None:
    """The stores of a video whose every frame has a crop, and of its sound."""
    import numpy as np
    from skimage.data import astronaut

    from avfusion.data.audio import write_audio
    from avfusion.data.frames import FrameRow, encode_crop, write_frames

    crops = [encode_crop(np.ascontiguousarray(astronaut()[90 + n : 202 + n, 170:282]), 95) for n in range(8)]
    rows = (FrameRow(n + 1, n / FPS, crops[n % 8], 1.0) for n in range(minutes * 60 * FPS))
    minute = np.random.default_rng(0).normal(0, 0.1, 60 * RATE).astype(np.float32)
    for name in ("frames", "audio"):
        (out / "data" / name).mkdir(parents=True)
    write_frames(out / "data" / "frames" / "long.parquet", rows)
    write_audio(out / "data" / "audio" / "long.wav", (minute for _ in range(minutes)))


def predict(video: Path, out: Path) -> None:
    """Every frame of a video through the predictor."""
    from avfusion import Predictor

    assert len(Predictor.load(out / "models" / "fusion").predict(video)) > 0


def in_new_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a process that ends with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Print the peak of each stage (or of those named as arguments) for both lengths; exit 1 where it is too high."""
    folder = Path(tempfile.gettempdir()) / "avfusion-bench-long-video"
    folder.mkdir(exist_ok=True)
    short, long = (folder / f"{minutes}.mp4" for minutes in MINUTES)
    if not long.is_file():
        in_new_process(make_video, short)
        in_new_process(repeat_video, short, folder / "unfinished.mp4", MINUTES[1] // MINUTES[0])
        os.replace(folder / "unfinished.mp4", long)
    for minutes in MINUTES:
        in_new_process(make_crops, folder / f"crops-{minutes}", minutes * 60 * FPS)
    failed = False
    for stage in sys.argv[1:] or STAGES:
        peaks = []
        for minutes in MINUTES:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                out = Path(temporary)
                in_new_process(make_model, out)
                if stage == "features":
                    in_new_process(make_stores, out, minutes)
                peak, seconds = in_new_process(run_stage, stage, folder, minutes, out)
            peaks.append(peak)
            print(f"{stage}: {minutes} min of video: peak {peak:.0f} MB, {seconds:.1f} s", flush=True)
        failed |= peaks[-1] > LIMIT_MB or peaks[-1] - peaks[0] > GROWTH_MB
    print(f"limits: {LIMIT_MB} MB, {GROWTH_MB} MB more than the short one: {'FAILED' if failed else 'kept'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
