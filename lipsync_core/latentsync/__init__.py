"""LatentSync around its networks: audio tokens, faces aligned and pasted back, and the diffusion of one chunk.

Frames are uint8 RGB [F, H, W, 3]. F frames form a chunk, which the UNet processes as a whole.
"""
