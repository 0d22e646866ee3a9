"""The client: media in and out, face tracking, and the connection to Triton. Knows no model internals."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # read when grpc is imported; its log would repeat our errors
