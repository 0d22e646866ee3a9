"""SyncNet's lip-sync metrics: sound and frames to what the network sees, and its embeddings to numbers.

Knows no network and no files.
"""
