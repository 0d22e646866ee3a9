"""SyncNet around its network: crops, cepstral windows of audio, and figures from embeddings.

Source of every number and formula in this package: docs/specs/syncnet.md. Does not depend on Triton.
"""
