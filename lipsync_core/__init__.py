"""Pure functions and small types shared by the Triton models, the client and the exporters."""
