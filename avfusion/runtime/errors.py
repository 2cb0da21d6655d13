"""Errors that a user can act on.

The command line prints them in one line, without a traceback, and exits with their `exit_code`.
"""

import errno
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


class AVFusionError(Exception):
    """Something failed; the message says what, where, and what to do."""

    exit_code = 1
    failures: Mapping[str, str] = MappingProxyType({})


class BadInputError(AVFusionError):
    """The user's input (file, folder, parameter) cannot be used; the message says what it must be."""

    exit_code = 2


class UnusableModelError(AVFusionError):
    """The weights of the model that the user chose give no numbers; whoever sent a video to it is not to blame."""

    exit_code = 2


def describe_exception(error: BaseException) -> str:
    """An unexpected exception in one line: its type, text and place."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename]  # the innermost frame of our own code
    place = f" (at {os.path.basename(ours[-1].filename)}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def describe_os_error(error: OSError) -> str:
    """The system's error and file in one line; for a full disk without a file, the working directory."""
    reason = error.strerror or str(error) or type(error).__name__
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # of two files, the second is the written one
    place = (error.filename2 if full else None) or error.filename or (f"below {Path.cwd()}" if full else "")
    return " ".join(f"{place}: {reason}".removeprefix(": ").split())
