"""Wav2Lip's generator and S3FD."""
