"""SyncNet's lip-sync metrics, LSE-D and LSE-C: face tracks, audio windows, the network, and scores from embeddings."""
