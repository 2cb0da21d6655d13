"""Pictures as they are shown: which way up, and in which colours."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from skimage.data import astronaut

from avfusion.media.face_tracks import face_crops
from avfusion.media.video import read_video

# What EXIF's orientations 1 to 8 do to the stored picture.
SHOWN = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: np.rot90(p),
}
# The same as a mirroring from left to right, then a counter-clockwise turn in degrees.
TURNS = {1: (0, 0), 2: (1, 0), 3: (0, 180), 4: (1, 180), 5: (1, 90), 6: (0, 270), 7: (1, 270), 8: (0, 90)}


def write(path, picture, codec="libx264", mirrored=0, turn=0, edit=bytes):
    """Five frames; `mirrored` and `turn` go to the container's matrix, and `edit` changes each packet's bytes."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.height, video.width = picture.shape[:2]
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if mirrored or turn:
            # PyAV mirrors after the turn: the same as a turn the other way after the mirroring.
            video.set_display_rotation(-turn if mirrored else turn, hflip=bool(mirrored))
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24") if index < 5 else None
            if frame:
                frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in video.encode(frame):
                edited = av.Packet(edit(bytes(packet)))
                edited.pts, edited.dts, edited.time_base = packet.pts, packet.dts, packet.time_base
                edited.is_keyframe, edited.stream, edited.duration = packet.is_keyframe, video, packet.duration
                container.mux(edited)


def with_orientation(data, codec, mirrored, turn):
    """An access unit with the message `display orientation` (payload 47 of ITU-T H.264 and H.265)."""
    bits = f"0{mirrored}0{turn * 65536 // 360:016b}" + {"libx264": "10", "libx265": "1"}[codec]
    bits += "1"
    payload = int(bits.ljust(24, "0"), 2).to_bytes(3, "big")
    head = {"libx264": b"\x06", "libx265": b"\x4e\x01"}[codec]
    message = b"\0\0\0\1" + head + bytes([47, len(payload)]) + payload.replace(b"\0\0\0", b"\0\0\3\0") + b"\x80"
    # Before the first slice: parameter sets come first.
    starts = [at for at in range(len(data) - 4) if data[at : at + 3] == b"\0\0\1"]
    slices = [at for at in starts if (data[at + 3] & 31 in (1, 5) if codec == "libx264" else data[at + 3] >> 1 < 32)]
    at = slices[0] - (data[slices[0] - 1] == 0)
    return data[:at] + message + data[at:]


def with_exif(data, orientation):
    """A JPEG with EXIF's tag 0x112."""
    entry = struct.pack("<HHHIHH", 1, 0x112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + entry + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def corners(height: int = 48, width: int = 64) -> np.ndarray:
    """Corners of four colours: no two orientations look alike."""
    picture = np.zeros((height, width, 3), np.uint8)
    half = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    for row, column, colour in (
        (0, 0, (220, 30, 30)),
        (0, 1, (30, 200, 30)),
        (1, 0, (40, 40, 220)),
        (1, 1, (230,) * 3),
    ):
        picture[half[0][row], half[1][column]] = colour
    return picture


def check_shown(path, orientation, stored=None):
    expected = SHOWN[orientation](corners() if stored is None else stored)
    frames = list(read_video(path))
    assert len(frames) == 5
    for frame in frames:
        assert frame.rgb.shape == expected.shape
        assert frame.rgb.flags.c_contiguous
        assert np.abs(frame.rgb.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("name", ["v.mp4", "v.mov"])
def test_eight_orientations_of_the_container(tmp_path, name, orientation):
    path = tmp_path / name
    mirrored, turn = TURNS[orientation]
    write(path, corners(), mirrored=mirrored, turn=turn)
    check_shown(path, orientation)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turns_in_matroska(tmp_path, orientation):
    path = tmp_path / "v.mkv"
    write(path, corners(), turn=TURNS[orientation][1])
    check_shown(path, orientation)


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize(("name", "codec"), [("v.ts", "libx264"), ("v.mkv", "libx265"), ("v.mp4", "libx265")])
def test_eight_orientations_of_the_stream(tmp_path, name, codec, orientation):
    """The display orientation of H.264 and HEVC: supplemental information in the stream itself."""
    path = tmp_path / name
    write(path, corners(), codec, edit=lambda data: with_orientation(data, codec, *TURNS[orientation]))
    check_shown(path, orientation)


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("name", ["v.avi", "v.mov"])
def test_eight_orientations_of_motion_jpeg(tmp_path, name, orientation):
    path = tmp_path / name
    write(path, corners(), "mjpeg", edit=lambda data: with_exif(data, orientation))
    check_shown(path, orientation)


@pytest.mark.parametrize("orientation", [2, 4, 7])
def test_a_face_stored_mirrored_is_found_in_every_frame(tmp_path, orientation):
    """Of orientations that mirror, one upright in storage, one upside down, one on its side."""
    face = astronaut()[:256, 96:352]
    stored = SHOWN[orientation](face)  # these orientations undo themselves
    mirrored, turn = TURNS[orientation]
    write(tmp_path / "stored.mp4", np.ascontiguousarray(stored), mirrored=mirrored, turn=turn)
    write(tmp_path / "upright.mp4", face)
    found, expected = (list(face_crops(tmp_path / name)) for name in ("stored.mp4", "upright.mp4"))
    assert len(found) == 5
    for crop, upright in zip(found, expected, strict=True):
        np.testing.assert_allclose(crop.box, upright.box, atol=3)
        assert np.abs(crop.rgb.astype(int) - upright.rgb).mean() < 10
