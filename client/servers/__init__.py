"""Access to Triton servers: addresses, security, connections, the pool over several, the embedded server."""
