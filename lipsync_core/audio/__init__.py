"""Sample rates, mel scales and mouth shapes."""
