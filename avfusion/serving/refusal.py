"""Refusals of requests, for clients."""

from avfusion.runtime.errors import AVFusionError


class RefusalError(AVFusionError):
    """A refused request; the message is for the client.

    Attributes:
        retry_after_s: time after which to try again; None: trying again is pointless.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
