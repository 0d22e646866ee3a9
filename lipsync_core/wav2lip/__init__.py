"""Wav2Lip around its networks: audio windows, face boxes, crops, pasting, and its detector's decoding.

Source of every number and formula in this package: docs/specs/wav2lip.md. Knows no network and no server.
"""
