"""Exported torch programs, model.pt2: loaded, compiled for static shapes, and run. Knows no network by name."""
