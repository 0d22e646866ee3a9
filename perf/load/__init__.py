"""Models under load: requests made from their configurations, perf_analyzer, and the results of sweeps."""
