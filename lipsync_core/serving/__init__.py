"""Runs tritonserver from the nvidia-pytriton wheel and holds the Python-based backends it serves with."""
