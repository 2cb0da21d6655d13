"""Say what a file is that is no readable video."""

from pathlib import Path

import av

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"ffconcat", "an FFmpeg concat script, which would open other files: give the videos themselves"),
    (b"#EXTM3U", "an M3U/HLS playlist, which would open other files: give the videos themselves"),
    (b"[playlist]", "a playlist, which would open other files: give the videos themselves"),
    (b"<?xml", "an XML document (a streaming manifest or a project file?), not a video"),
    (b"<MPD", "a DASH manifest, which would open other files: give the videos themselves"),
    (b"<!DOCTYPE", "a web page, not a video"),
    (b"<html", "a web page, not a video"),
    (b"v=0", "an SDP session description, not a video"),
    (b"\xff\xd8\xff", "a JPEG image, not a video"),
    (b"\x89PNG", "a PNG image, not a video"),
    (b"GIF8", "a GIF image, not a video"),
    (b"%PDF", "a PDF document, not a video"),
    (b"PK\x03\x04", "a ZIP archive, not a video: unpack it"),
    (b"\x1f\x8b", "a gzip archive, not a video: unpack it"),
)


def describe_content(file: Path, error: Exception | None = None) -> str:
    """What the file is by its first bytes, or else FFmpeg's complaint."""
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as fault:
        return f"reading failed ({fault.strerror})"
    if isinstance(error, av.error.TimeoutError | av.error.ExitError):
        return "reading took too long and was given up"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, words in _MAGIC:
        if text[: len(magic)].lower() == magic.lower():
            return f"it is {words}"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
        return "it is an MP4/MOV file that is truncated or damaged (its index is missing or broken): copy it again"
    if head.startswith(b"\x1aE\xdf\xa3") or head[:4] == b"RIFF":
        return "it is a Matroska, AVI or WAV file that is truncated or damaged: copy it again"
    if _is_text(head):
        return "it is a text file, not a video"
    reason = f" ({error.strerror})" if isinstance(error, av.FFmpegError) and error.strerror else ""
    return f"its container is unknown, damaged or not allowed{reason}"


def index_is_cut(file: Path) -> bool:
    """Whether an MP4/MOV file ends inside its index (`moov`): FFmpeg then reads only the streams that the rest of it
    names.
    """
    size = file.stat().st_size
    at = 0
    with file.open("rb") as stream:
        while at + 8 <= size:
            stream.seek(at)
            head = stream.read(16)
            length = int.from_bytes(head[:4])
            if length == 1:  # a box of more than 4 GB
                length = int.from_bytes(head[8:])
            if head[4:8] == b"moov" and at + length > size:
                return True
            if length < 8:  # 0: to the end of the file
                break
            at += length
    return False


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head[:-3].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
