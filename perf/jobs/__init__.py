"""Whole jobs: benchmark, regression, scaling, soak, speed modes."""
