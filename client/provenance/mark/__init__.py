"""A faint mark in the changed region of lip-synced frames, and its detector; see docs/provenance.md."""
