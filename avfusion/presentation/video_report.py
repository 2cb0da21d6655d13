"""A video's predictions as a self-contained HTML page."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from markupsafe import Markup

from avfusion.corpora.notes import as_sentence
from avfusion.inference.analysis import Person
from avfusion.media.audio import aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.mp4_writer import write_sound
from avfusion.media.opener import audio_stream, demux, open_media, video_stream
from avfusion.media.picture import display_matrix
from avfusion.media.timeline import Timeline
from avfusion.media.video import read_video
from avfusion.presentation.model_card import ModelCard
from avfusion.presentation.overlay_panel import clock, signed
from avfusion.presentation.person_marks import colour_of, thumbnail_uri
from avfusion.presentation.video_statistics import video_statistics
from avfusion.reports.page import charts
from avfusion.reports.page.templates import page_template
from avfusion.runtime.atomic import write_text
from avfusion.runtime.errors import AVFusionError, describe_os_error
from avfusion.runtime.printable import printable

MOST_BYTES = 20_000_000  # of a video embedded in the page
LONGEST_SOUND_S = 1800.0  # embedded in the page, in as many bytes
MOST_STILLS, STILLS_APART_S, STILL_SIDE, STILL_QUALITY = 48, 2.0, 360, 75
MOST_POINTS = 4000  # per curve in the page's data
TICK_STEPS_S, MOST_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600), 6
ENDS = {"valence": "unpleasant … pleasant", "arousal": "calm … excited"}
STRIPS = (("face seen", "visual"), ("sound heard", "audio"))
MOST_BOXES = 6000  # per person in the page's data
LIMITS = (
    "Valence (unpleasant to pleasant) and arousal (calm to excited) are here what annotators thought that a person on "
    "a video showed, as a model guesses it from face and voice. They are not what the person felt, thought or meant.",
    "Do not judge, rank or select people by them. Faces and voices differ between people, cultures and situations, and "
    "the model errs more on those that its training corpus lacks. The EU AI Act forbids systems that infer emotions at "
    "work and in education.",
)


def write_video_report(
    video: str | Path,
    path: str | Path,
    persons: Sequence[Person],
    card: ModelCard,
    *,
    title: str | None = None,
    warnings: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
    audio_track: int | None = None,
) -> None:
    """Write one page for everybody in a video, whole or not at all.

    A video of at most 20 MB in H.264 and AAC in MP4, which every browser plays, is embedded; of any other the page has
    stills, 2 s or more apart. Of sound alone it has a player, for at most half an hour. A cursor on the traces follows
    playback, and `#t=12` in the address goes to 12 s. Of several persons each has a trace, a number and a colour, in
    which boxes are drawn into the picture.

    Args:
        persons: At least one; the common sound and the times are those of the first.
        title: Title of the page; default: the video's name.
        provenance: Facts kept in the file, for `report_provenance`.
        audio_track: Number of the audio track of sound alone, from 1; default: the one that players take.

    Raises:
        BadInputError: the video cannot be read.
        AVFusionError: the file cannot be written.
    """
    timeline = read_any_timeline(video, audio_track=audio_track)
    sound = not timeline.has_pictures
    unseen = _why_not_embedded(video, timeline)
    media = "" if unseen else base64.b64encode(_heard(video, timeline) if sound else Path(video).read_bytes()).decode()
    film = _stills(video, timeline) if unseen and not sound else []
    main = persons[0].predictions
    time_s = main["time_s"].to_numpy(float)
    length = max(float(time_s[-1]), 1e-3)
    x = time_s / length
    step = -(-len(time_s) // charts.MOST_POINTS)
    seen = np.logical_or.reduce([_seen(person) for person in persons])
    heard = main["audio_present"].to_numpy(bool)
    script = "\n" + resources.files("avfusion.presentation").joinpath("video_report.js").read_text(encoding="utf-8")
    text = page_template("avfusion.presentation", "video_report.html.jinja").render(
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        provenance=json.dumps(dict(provenance or {}), sort_keys=True),
        title=printable(title or Path(video).name),
        clock=clock,
        signed=signed,
        length=length,
        notes=[as_sentence(note) for note in card.notes],
        warnings=warnings,
        sound=sound,
        media=media,
        unseen=unseen,
        film=film,
        people=[_shown(person, x, step) for person in persons],
        ends=ENDS,
        strips=[
            {"title": words, "kind": kind, "svg": charts.strip(x, flags)}
            for (words, kind), flags in zip(STRIPS, (seen, heard), strict=True)
        ],
        ticks=_ticks(length),
        frames_per_point=step,
        frames=len(time_s),
        size=_picture_size(video, timeline) if len(persons) > 1 else None,
        card=card,
        facts=_facts(card),
        limits=LIMITS,
        data=_json(_data(persons, film, length, 0.0 if sound else _lead_s(video, timeline))),
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise AVFusionError(describe_os_error(error)) from None


def _shown(person: Person, x: np.ndarray, step: int) -> dict[str, Any]:
    """What the page shows of a person; x (N,): the frames' times as shares of the video's length."""
    curves = {name: _means(person.predictions[name].to_numpy(float), step) for name in ENDS}
    known = np.isfinite(curves["valence"])
    lines = {name: (f"smooth {name}", values, known) for name, values in curves.items()}
    at, nothing = _means(x, step), np.zeros(len(known), bool)
    return {
        "number": person.number,
        "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(person)),
        "thumbnail": thumbnail_uri(person),
        "way": Markup(_way(curves["valence"], curves["arousal"])),
        "panels": {name: charts.panel(at, [line], nothing) for name, line in lines.items()},
        "panel": charts.panel(at, list(lines.values()), nothing),
        "seen": charts.strip(x, _seen(person)),
        "statistics": video_statistics(person.predictions),
    }


def _seen(person: Person) -> np.ndarray:
    """The frames with the person's face, (N,) bool."""
    return person.predictions["face_confidence"].to_numpy(float) > 0


def report_provenance(path: str | Path) -> dict[str, str]:
    """The provenance in a report; empty if there is none."""
    head = _Head()
    try:
        with open(path, encoding="utf-8") as file:
            head.feed(file.read(4096))
        found = json.loads(head.origin)
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


class _Head(HTMLParser):
    origin = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta" and dict(attrs).get("name") == "avfusion":
            self.origin = dict(attrs).get("content") or ""


def _why_not_embedded(video: str | Path, timeline: Timeline) -> str:
    """Why the page has no player; empty if the video is small and browsers play it."""
    if not timeline.has_pictures:
        too_long = "The sound is longer than half an hour: the page has no player."
        return too_long if timeline.end_s > LONGEST_SOUND_S else ""
    if Path(video).stat().st_size > MOST_BYTES:
        return f"The video has more than {MOST_BYTES // 1_000_000} MB: stills of it stand here instead."
    with open_media(video) as container:
        picture, sound = video_stream(container, video), audio_stream(container)
        if sound and sound.index != timeline.audio_index:
            return "Browsers would play another audio track than the one heard: stills of the video stand here instead."
        codecs = [picture.codec_context.name, sound.codec_context.name if sound and sound.codec_context else "aac"]
        plain = picture.codec_context.pix_fmt in ("yuv420p", "yuvj420p")
        if (
            "mp4" in container.format.name
            and codecs == ["h264", "aac"]
            and plain
            and (not sound or sound.codec_context)
        ):
            if _browsers_show_it_upright(container, picture):
                return ""
            return "Not every browser shows the video upright, as it was filmed: stills of it stand here instead."
    return "Not every browser plays the video, which is no H.264 and AAC in MP4: stills of it stand here instead."


def _browsers_show_it_upright(container: InputContainer, picture: VideoStream) -> bool:
    """Browsers turn a video as its container says, not as its stream says, and not all of them mirror it."""
    bare = CodecContext.create("h264", "r")  # knows the stream, not the container
    assert isinstance(bare, VideoCodecContext)
    bare.extradata = picture.codec_context.extradata
    whole = alone = None
    for packet in demux(container, picture):
        try:
            whole = whole or next(iter(picture.decode(packet)), None)
            alone = alone or next(iter(bare.decode(packet)), None)
        except (av.error.InvalidDataError, av.error.EOFError):
            continue
        if whole and alone:
            a, b, c, d = display_matrix(whole) or (1, 0, 0, 1)
            return a * d - b * c >= 0 and display_matrix(alone) is None
    return True


def _heard(video: str | Path, timeline: Timeline) -> bytes:
    """The sound that was heard, as AAC in MP4, which every browser plays."""
    file = BytesIO()
    write_sound(file, aligned_audio(video, timeline))
    return file.getvalue()


def _lead_s(video: str | Path, timeline: Timeline) -> float:
    """A browser's clock at the first frame: the file's own clock, starting at its first stream."""
    with open_media(video) as container:
        start_s = (container.start_time or 0) / av.time_base
    return timeline.origin_s - min(0.0, start_s)


def _picture_size(video: str | Path, timeline: Timeline) -> tuple[int, int]:
    """Width and height of the upright picture, in whose pixels the boxes are."""
    height, width = next(read_video(video, timeline=timeline)).rgb.shape[:2]
    return width, height


def _stills(video: str | Path, timeline: Timeline) -> list[dict[str, Any]]:
    """Frames evenly over the video, as data URIs: `uri`, `frame` (from 1), `time_s`."""
    count = int(np.clip(timeline.end_s / STILLS_APART_S, 1, MOST_STILLS))
    goals = np.arange(count) * timeline.end_s / count
    chosen = set(np.searchsorted(timeline.times_s, goals - 1e-6).clip(max=timeline.frames - 1).tolist())
    stills = []
    for frame in read_video(video, timeline=timeline, wanted=chosen.__contains__):
        scale = STILL_SIDE / max(frame.rgb.shape[:2])
        size = [max(1, round(side * min(1.0, scale))) for side in frame.rgb.shape[1::-1]]
        small = cv2.cvtColor(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, STILL_QUALITY])[1].tobytes()
        uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
        stills.append({"uri": uri, "frame": frame.index0 + 1, "time_s": frame.time_s})
    return stills


def _means(values: np.ndarray, step: int) -> np.ndarray:
    """Means of the known ones of `step` values each, (N,) → (N / step,), the last one of the rest; NaN of none."""
    starts, known = np.arange(0, len(values), step), np.isfinite(values)
    sums, counts = (np.add.reduceat(column, starts) for column in (np.where(known, values, 0), known.astype(float)))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _ticks(length: float) -> list[dict[str, Any]]:
    """Round times below the traces; tenths of a second only for short videos."""
    step = next((step for step in TICK_STEPS_S if length <= MOST_TICKS * step), TICK_STEPS_S[-1])
    times = np.arange(0, 0.97 * length, step)  # none that would stick out at the end
    words = [clock(seconds) if step < 1 else clock(seconds)[:-2] for seconds in times.tolist()]
    return [{"left": round(100 * at / length, 3), "words": text} for at, text in zip(times, words, strict=True)]


def _way(valence: np.ndarray, arousal: np.ndarray) -> str:
    parts, drawing = [], False
    for v, a in zip(valence.tolist(), arousal.tolist(), strict=True):
        known = v == v  # not NaN
        if known:
            parts.append(f"{'L' if drawing else 'M'}{100 * v:.1f} {-100 * a:.1f}")
        drawing = known
    return "".join(parts)


def _data(persons: Sequence[Person], film: Sequence[Mapping[str, Any]], length: float, lead_s: float) -> dict[str, Any]:
    """The values that the script shows at the cursor: of every frame, or means of several frames for long videos.

    Of several persons also their boxes: those of the stills, or of frames of the video that the page has.
    """
    time_s = persons[0].predictions["time_s"].to_numpy(float)
    step = -(-len(time_s) // MOST_POINTS)
    found: dict[str, Any] = {
        "length": round(length, 3),
        "lead": round(lead_s, 3),
        "time": np.round(time_s[::step], 3).tolist(),
        "film": [round(frame["time_s"], 3) for frame in film],
    }
    values = [
        {name: _rounded(_means(person.predictions[name].to_numpy(float), step)) for name in ENDS} for person in persons
    ]
    if len(persons) == 1:
        return found | values[0]
    every = -(-len(time_s) // MOST_BOXES)
    at = np.array([frame["frame"] - 1 for frame in film] if film else range(0, len(time_s), every), int)
    boxes = [
        [None if np.isnan(box[0]) else np.rint(box).astype(int).tolist() for box in person.boxes[at].astype(float)]
        for person in persons
    ]
    shown = [of_one | {"boxes": theirs} for of_one, theirs in zip(values, boxes, strict=True)]
    return found | {"box_time": np.round(time_s[at], 3).tolist(), "persons": shown}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(value, 3) if value == value else None for value in values.tolist()]


def _json(value: object) -> Markup:
    """JSON that cannot close its HTML element."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _facts(card: ModelCard) -> list[tuple[str, str]]:
    """The model card in words."""
    scores = ", ".join(f"{name} {value:.2f}" for name, value in card.scores.items())
    corpus = card.corpus or "not recorded"
    facts = [
        ("Fusion", card.fusion),
        ("Loaded from", card.source),
        ("Digest", card.digest),
        ("Training corpus", corpus),
        ("Validation CCC", f"{scores} (pooled over frames; 1 is perfect)" if scores else "no record of it here"),
        ("Inference", card.timing),
    ]
    for stream, (name, source, licence) in card.backbones.items():
        facts.append((f"Backbone, {stream}", f"{name}; weights: {source or 'not recorded'}; terms: {licence}"))
    facts.append(
        ("Licences", "avfusion: MIT. Weights are under the terms of where they and their training data come from.")
    )
    return facts
