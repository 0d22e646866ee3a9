"""TensorRT engines, built and verified."""
