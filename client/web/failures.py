"""What users are told of an error: theirs in full; what concerns the server alone stays in its log."""

from __future__ import annotations

import re

from client.errors import LipSyncError, MediaError, NoFaceError, OutputError, UsageError
from client.web.job_record import Failure
from client.web.job_settings import SETTING_NAMES
from client.web.labels import JOB_FILES, for_user

USERS_ERRORS = (MediaError, NoFaceError, OutputError, UsageError)  # others concern the server alone
PLACE_IN_SCRIPT = re.compile(r"(speakers?|segments|unchanged)\b")  # as errors of scenes name it
SERVERS_FAULT = "Something went wrong on the server, not with your files. Try again, or ask whoever runs this service"


def failure(error: LipSyncError) -> Failure:
    """Return what the user is told about an error; what concerns the server alone stays in its log."""
    is_users = isinstance(error, USERS_ERRORS) and SETTING_NAMES.issuperset(error.options)
    if is_users and (error.about in {"", *JOB_FILES} or PLACE_IN_SCRIPT.match(error.about)):
        return Failure(error.title, str(error), for_user(error))
    return servers_failure(error.title)


def servers_failure(title: str) -> Failure:
    """Return a failure that is not due to the user's files and options."""
    return Failure(title, SERVERS_FAULT, SERVERS_FAULT)
