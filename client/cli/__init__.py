"""The command line: options parsed and commands run."""
