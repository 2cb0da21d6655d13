"""Print any text anywhere: file names that are no text, streams that are not UTF-8, streams that nobody reads."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper

from avfusion.runtime.errors import AVFusionError


def printable(text: str) -> str:
    """The text in one line, with escapes for bytes that are not UTF-8 (`caf\\xe9.mp4`) and for control characters."""
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # Python's stand-in for a byte of a file name that is not UTF-8
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode()


def escape_unprintable() -> None:
    """Let standard output escape what its encoding lacks; the error stream does that by itself."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a line, escaped, on the error stream."""
    print(printable(line), file=sys.stderr)


def print_besides(line: str) -> None:
    """Print a line, escaped, about files that are written: it does not fail where standard output cannot be written.

    The error stream says so once, and nothing more is printed.
    """
    try:
        print(printable(line), flush=True)
    except OSError as error:  # the reader of a pipe has gone, a disk is full
        say(f"note: standard output cannot be written ({error.strerror}); the files are")
        silence_output()


def flush_output() -> None:
    """Write what is left of standard output, unless its reader has gone.

    Raises:
        AVFusionError: it cannot be written: the disk is full.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        silence_output()
    except OSError as error:
        silence_output()
        raise AVFusionError(f"standard output cannot be written: {error.strerror}") from None


def silence_output() -> None:
    """Send standard output nowhere, with what it still holds."""
    with suppress(OSError, ValueError):  # not a file, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
