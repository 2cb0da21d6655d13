"""Tiny real media files and texts that pose as media: what the fuzz of the opener starts from."""

import io
from fractions import Fraction
from typing import Literal

import av
import numpy as np

from tests.media.damage import with_empty_samples
from tests.media.field_coded import write_field_coded

WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 12, 25
SOUND_RATE = 16000
PQ = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"

# name: container, its options, video codec and its options, pixel format, audio codec
CONTAINERS: dict[str, tuple[str, dict[str, str], str, dict[str, str], str, str | None]] = {
    "h264.mp4": ("mp4", {}, "libx264", {"preset": "ultrafast"}, "yuv420p", "aac"),
    "fragments.mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov"}, "mpeg4", {"g": "4"}, "yuv420p", "aac"),
    "h264.mkv": ("matroska", {}, "libx264", {"preset": "ultrafast", "bf": "2"}, "yuv420p", "pcm_s16le"),
    "hdr.mkv": ("matroska", {}, "libx264", {"preset": "ultrafast", "x264-params": PQ}, "yuv420p10le", None),
    "hdr.ts": ("mpegts", {}, "libx264", {"preset": "ultrafast", "x264-params": PQ}, "yuv420p10le", None),
    "mpeg4.avi": ("avi", {}, "mpeg4", {}, "yuv420p", "libmp3lame"),
    "mpeg2.ts": ("mpegts", {}, "mpeg2video", {}, "yuv420p", "mp2"),
    "vp9.webm": ("webm", {}, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "yuv420p", "libopus"),
    "prores.mov": ("mov", {}, "prores_ks", {}, "yuv422p10le", "pcm_s16le"),
    "mjpeg.mov": ("mov", {}, "mjpeg", {}, "yuvj420p", None),
    "flv.flv": ("flv", {}, "flv", {}, "yuv420p", None),
    "wmv.asf": ("asf", {}, "wmv2", {}, "yuv420p", "libmp3lame"),
    "h264.avi": ("avi", {}, "libx264", {"preset": "ultrafast", "bf": "2"}, "yuv420p", "pcm_s16le"),
    "interlaced.mkv": ("matroska", {}, "libx264", {"x264-params": "interlaced=1"}, "yuv420p", None),
    "fields.mkv": ("matroska", {}, "libx265", {"x265-params": "interlace=tff:log-level=none"}, "yuv420p", None),
}
SOUNDS = {  # name: container, audio codec
    "voice.mp3": ("mp3", "libmp3lame"),
    "voice.m4a": ("ipod", "aac"),
    "voice.flac": ("flac", "flac"),
    "voice.opus": ("ogg", "libopus"),
    "voice.aac": ("adts", "aac"),
    "voice.aiff": ("aiff", "pcm_s16be"),
}
CANARIES = ("other.mp4", "segment0.ts", "key.bin")  # what the texts below would open
TEXTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsegment0.ts\n#EXT-X-ENDLIST\n",
    "key.m3u8": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n#EXTINF:10,\nfile:segment0.ts\n#EXT-X-ENDLIST\n',
    "script.ffconcat": "ffconcat version 1.0\nfile 'other.mp4'\nduration 1\nfile other.mp4\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    '<Period><AdaptationSet><Representation id="1" mimeType="video/mp4"><BaseURL>other.mp4</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n",
    "redirect.mov": "RTSPtextrtsp://127.0.0.1/other.mp4\n",
    "list.asx": '<ASX version="3.0"><ENTRY><REF HREF="other.mp4"/></ENTRY></ASX>\n',
}


def media_seeds() -> dict[str, bytes]:
    """Every container with a dozen small frames and, where it has sound, half a second of a tone; a WAV; the texts.

    Among them are frames coded as fields, two in a packet and one, and frames without content.
    """
    seeds = {name: _film(*how) for name, how in CONTAINERS.items()}
    seeds |= {f"{packets}.ts": _field_coded("mpegts", packets) for packets in ("frames", "fields")}
    seeds["fields.mp4"] = _field_coded("mp4", "fields")
    seeds["empty.mp4"] = with_empty_samples(_film("mp4", {}, "mjpeg", {}, "yuvj420p", None), 3, 7)
    seeds["voice.wav"] = _film("wav", {}, None, {}, "", "pcm_s16le")
    seeds |= {name: _film(container, {}, None, {}, "", codec) for name, (container, codec) in SOUNDS.items()}
    seeds["tracks.mkv"] = _tracks()
    return seeds | {name: text.encode() for name, text in TEXTS.items()}


def _field_coded(container: str, packets: Literal["frames", "fields"]) -> bytes:
    file = io.BytesIO()
    pictures = [np.full((32, 32, 3), 20 * index, np.uint8) for index in range(FRAMES)]
    write_field_coded(file, pictures, packets=packets, container_format=container)
    return file.getvalue()


def _film(
    container: str,
    options: dict[str, str],
    codec: str | None,
    codec_options: dict[str, str],
    pixels: str,
    sound_codec: str | None,
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        video = output.add_stream(codec, rate=RATE, options=codec_options) if codec else None
        if video:
            video.width, video.height, video.pix_fmt, video.thread_count = WIDTH, HEIGHT, pixels, 1
            if container == "mov":
                video.set_display_rotation(90, hflip=True)
        sound = output.add_stream(sound_codec, rate=SOUND_RATE, layout="mono") if sound_codec else None
        for index in range(FRAMES if video else 0):
            image = np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8)
            image[10:30, 2 * index : 2 * index + 20] = (255, 90, 0)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            output.mux(video.encode(frame))
        if video:
            output.mux(video.encode())
        if sound:
            _add_tone(output, sound)
    return file.getvalue()


def _add_tone(output: av.container.OutputContainer, sound: av.AudioStream) -> None:
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(SOUND_RATE // 2) / SOUND_RATE)
    resampler = av.AudioResampler(sound.format.name, "mono", SOUND_RATE)
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    for piece in resampler.resample(frame):
        output.mux(sound.encode(piece))
    output.mux(sound.encode())


def _tracks() -> bytes:
    """A silent track, one with sound on one side, and one of six channels."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(SOUND_RATE // 2) / SOUND_RATE)
        gains = {"mono": [0], "stereo": [1, 0], "5.1": [0, 0, 1, 0, 0.1, 0.1]}
        tracks = [output.add_stream("flac", rate=SOUND_RATE, layout=layout) for layout in gains]
        for track, (layout, levels) in zip(tracks, gains.items(), strict=True):
            samples = np.rint(32767 * wave[:, None] * levels).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
            output.mux(track.encode(frame))
            output.mux(track.encode())
    return file.getvalue()
