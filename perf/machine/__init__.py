"""The machine: its conditions, GPUs and memory."""
