"""Wav2Lip around its networks: mel windows, face boxes, crops, pasting, and decoding of its face detector.

Source of every number and formula in this package: docs/specs/wav2lip.md. Does not depend on Triton.
"""
