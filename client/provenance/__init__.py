"""Says of a result that it was made, and checks it: signed credentials (C2PA), a faint mark, a label."""
