"""The client's errors and the exit code that each one ends the command with."""


class LipSyncError(Exception):
    """Base of every error that the client reports in one line."""

    exit_code = 1


class UsageError(LipSyncError):
    """Values of options that cannot be, or options that do not go together."""

    exit_code = 2


class MediaError(LipSyncError):
    """A video or audio file that cannot be used as it is."""

    exit_code = 3


class NoFaceError(LipSyncError):
    """No usable face anywhere in the span that was to be lip-synced."""

    exit_code = 4


class ServerUnavailable(LipSyncError):
    """The server does not start, cannot be reached, or went away during the job."""

    exit_code = 5


class ServerLost(ServerUnavailable):
    """The connection broke: the server is gone, or does not answer any more."""


class ServerBusy(ServerUnavailable):
    """The server lives, and refuses a request because too many wait already."""


class NoAnswer(ServerUnavailable):
    """No answer came before the request's deadline."""


class AccessDenied(ServerUnavailable):
    """The server's certificate, or ours, or our token is not accepted."""


class RequestRejected(LipSyncError):
    """The server answered, and refused the request or failed in it."""

    exit_code = 6


class ModelDied(RequestRejected):
    """The process of a model died on the server, which cannot answer requests for it any more."""


class OutputError(LipSyncError):
    """The result cannot be written."""

    exit_code = 7


class BatchError(LipSyncError):
    """Jobs of a batch failed."""

    exit_code = 8
