"""LatentSync's UNet."""
