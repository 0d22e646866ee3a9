"""The VAE's encoder and decoder."""
