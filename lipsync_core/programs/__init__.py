"""Loads exported torch programs, model.pt2, compiles them for static shapes, and runs them."""
