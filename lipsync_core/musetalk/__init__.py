"""MuseTalk around its networks: boxes, crops, audio windows, latents, masks and pasting.

Source of every number and formula in this package: docs/specs/musetalk.md. Does not depend on torch or Triton.
"""
