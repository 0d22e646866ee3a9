"""Reaches Triton servers: addresses, channels, connections, the pool over several, the embedded server."""
