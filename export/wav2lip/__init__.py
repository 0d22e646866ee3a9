"""Wav2Lip's generator and its face detector S3FD."""
