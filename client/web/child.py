"""What processes of the service do when they start. Imports nothing of the service, so that they start quickly."""

from __future__ import annotations

import os
import resource

from client.process import end_on_signals, end_with_parent

EXIT_RETRY = 75  # of processes that may succeed later; EX_TEMPFAIL of sysexits.h
EXIT_REFUSED = 3  # of processes that answer a request: the files cannot be used; stdout says why
MAX_MEMORY_BYTES = 12 << 30  # address space, which decoders with many threads reserve more of than they use
NICENESS = 10  # jobs go first


def limit_this_process() -> None:
    """Bound the memory of a process that answers a request, let jobs go first, and end it with its parent."""
    end_on_signals()
    end_with_parent()
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
