"""Errors that a user can act on.

The command line prints them in one line, without a traceback, and exits with their `exit_code`.
"""

import errno
from pathlib import Path


class AVFusionError(Exception):
    """Something failed; the message says what, where, and what to do."""

    exit_code = 1


class BadInputError(AVFusionError):
    """The user's input (file, folder, parameter) cannot be used; the message says what is allowed."""

    exit_code = 2


def describe_os_error(error: OSError) -> str:
    """What the system refused and where, in one line; a full disk that names no file holds the working directory."""
    reason = error.strerror or str(error) or type(error).__name__
    place = error.filename or (f"below {Path.cwd()}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "")
    return " ".join(f"{place}: {reason}".removeprefix(": ").split())
