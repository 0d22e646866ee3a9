"""The client: media in and out, face tracking, and the connection to Triton. Knows no model internals."""
