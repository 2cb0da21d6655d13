"""What a client is told where it does not get what it asked for."""

from avfusion.runtime.errors import AVFusionError


class RefusalError(AVFusionError):
    """A request is refused; the message is for the client.

    Attributes:
        status: of the HTTP answer.
        retry_after_s: when asking again makes sense; None: it does not.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
