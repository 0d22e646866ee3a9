"""The kinds of problems that the API answers with: the `type` of each, its status, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

PROBLEMS_PATH = "/problems"


@dataclass(frozen=True)
class ProblemKind:
    """One kind of problem.

    Attributes:
        name: last part of its `type`, which stays the same for programs.
        status: the HTTP status.
        title: the kind, for people.
        advice: what a program, or whoever wrote it, can do about it.
    """

    name: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        """The problem's `type`: a URI relative to the service, where the kind is described."""
        return f"{PROBLEMS_PATH}/{self.name}"


MALFORMED = ProblemKind("malformed", 400, "The request is malformed", "Send well-formed HTTP, JSON or multipart.")
TOKEN_REQUIRED = ProblemKind("token-required", 401, "A token is required", "Send `Authorization: Bearer TOKEN`.")
TOKEN_NOT_VALID = ProblemKind("token-not-valid", 401, "The token is not valid", "Check that the token is complete.")
OTHER_SITE = ProblemKind(
    "other-site", 403, "The request is not allowed", "Name the site with `--cors-origin` when starting the service."
)
URLS_OFF = ProblemKind(
    "urls-off", 403, "Web addresses are not accepted", "Upload the files, or start the service with `--allow-urls`."
)
CALLBACKS_OFF = ProblemKind(
    "callbacks-off",
    403,
    "Callbacks are not set up",
    "Poll the job, or give the service a secret to sign callbacks with.",
)
LINK_NOT_VALID = ProblemKind(
    "link-not-valid", 403, "The link is not valid", "Ask for a new link with `POST /jobs/{job_id}/result-url`."
)
NOT_FOUND = ProblemKind("not-found", 404, "Not found", "See the paths in `/openapi.json`.")
NO_SUCH_JOB = ProblemKind(
    "no-such-job", 404, "There is no such job", "List your jobs; it may have been removed, or be another user's."
)
FILE_GONE = ProblemKind("file-gone", 404, "The file is gone", "Send the files again; they are kept for a limited time.")
NO_SUCH_CLIP = ProblemKind(
    "no-such-clip", 404, "There is no such clip", "`GET /live/clips` lists the clips of live streams."
)
NOTHING_READY = ProblemKind(
    "nothing-ready",
    404,
    "There is nothing to watch",
    "Get the job; its `links.progressive` is set while there is something to watch on this machine.",
)
METHOD_NOT_ALLOWED = ProblemKind(
    "method-not-allowed", 405, "The method is not allowed", "Use one of the methods in the `Allow` header."
)
STALLED = ProblemKind("stalled", 408, "The upload stalled", "Send the request again.")
WRONG_STATE = ProblemKind(
    "wrong-state", 409, "The job is in the wrong state", "Get the job; its `state` says what can be done with it."
)
TOO_LARGE = ProblemKind("too-large", 413, "The upload is too large", "Send less; `GET /limits` has the limits.")
BODY_TOO_LARGE = ProblemKind("body-too-large", 413, "The body is too large", "Send less beside the files.")
WRONG_CONTENT_TYPE = ProblemKind(
    "wrong-content-type", 415, "The content type is not supported", "Send `multipart/form-data` or JSON."
)
NO_SUCH_PART = ProblemKind("no-such-part", 416, "The file has no such part", "`Content-Range` has the file's size.")
UNKNOWN_HOST = ProblemKind(
    "unknown-host", 421, "Unknown host name", "Start the service with `--allowed-host` and this name."
)
UNUSABLE = ProblemKind("unusable", 422, "The request cannot be used", "Mend the fields that `errors` names.")
WRONG_OPTION = ProblemKind(
    "wrong-option", 422, "An option cannot be used like this", "Mend the options that `errors` names."
)
WRONG_SCRIPT = ProblemKind(
    "wrong-script",
    422,
    "The script cannot be used",
    "Mend the place that `errors` names; `GET /scene.schema.json` is the schema of scripts.",
)
NOT_LOADED = ProblemKind(
    "not-loaded",
    422,
    "The server has not loaded this",
    "Choose another; `GET /models` says what is missing and how to add it.",
)
TOO_LONG = ProblemKind("too-long", 422, "The media are too long", "Send less; `GET /limits` has the longest duration.")
UNREADABLE_MEDIA = ProblemKind(
    "unreadable-media", 422, "The video or the audio cannot be used", "Send another file, or convert it first."
)
ADDRESS_REFUSED = ProblemKind(
    "address-refused", 422, "The web address cannot be used", "Give a public http or https address that answers."
)
KEY_REUSED = ProblemKind(
    "idempotency-key-reused",
    422,
    "The Idempotency-Key was used for another request",
    "Send a new key with a new request.",
)
TOO_MANY_JOBS = ProblemKind("too-many-jobs", 429, "Too many jobs", "Wait until one of your jobs has ended.")
QUEUE_FULL = ProblemKind("queue-full", 429, "The queue is full", "Try again after `Retry-After` seconds.")
TOO_MANY_STREAMS = ProblemKind(
    "too-many-streams", 429, "Too many live streams", "Wait until one has ended; `GET /limits` has the limits."
)
TOO_MANY_ATTEMPTS = ProblemKind(
    "too-many-attempts", 429, "Too many attempts", "Check the token; try again after `Retry-After` seconds."
)
DEFECT = ProblemKind("defect", 500, "Something went wrong", "Tell whoever runs the service; its log says more.")
NOT_READY = ProblemKind("not-ready", 503, "The service is not ready", "Try again after `Retry-After` seconds.")
BUSY = ProblemKind("busy", 503, "The service is busy", "Use fewer connections; try again after `Retry-After` seconds.")
UNAVAILABLE = ProblemKind(
    "unavailable",
    503,
    "The records or files cannot be reached",
    "Nothing is lost; try again after `Retry-After` seconds.",
)
DISK_FULL = ProblemKind(
    "disk-full", 507, "The disk is full", "Remove old jobs, or try again after `Retry-After` seconds."
)

KINDS: dict[str, ProblemKind] = {
    kind.name: kind for kind in list(globals().values()) if isinstance(kind, ProblemKind)
}  # in the order of their statuses
STANDARD: dict[int, ProblemKind] = {kind.status: kind for kind in reversed(KINDS.values())}  # status -> its first kind
RETRY_AFTER_S: dict[int, int] = {429: 30, 503: 10, 507: 300}  # status -> seconds, where nothing better is known
