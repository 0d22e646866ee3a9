"""What the report is made of: pages, plots, and the parts on sweeps and on jobs."""
