"""How close mouths are to real ones: a clip is lip-synced to its own speech and compared with itself."""
