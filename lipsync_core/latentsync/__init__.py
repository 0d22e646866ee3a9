"""What surrounds LatentSync's networks: speech to audio tokens, faces in and out of frames, one chunk's diffusion.

Frames are uint8 RGB [F, H, W, 3]; F frames make a chunk, which the network sees as a whole.
"""
