"""Errors that a user can act on.

The command line prints them in one line, without a traceback, and exits with their `exit_code`.
"""


class AVFusionError(Exception):
    """Something failed; the message says what, where, and what to do."""

    exit_code = 1


class BadInputError(AVFusionError):
    """The user's input (file, folder, parameter) cannot be used; the message says what is allowed."""

    exit_code = 2
