"""Sample rates, mel filters and mouth shapes."""
