"""The image autoencoder that the neural pipelines share: its sizes, and latents drawn from its output."""
