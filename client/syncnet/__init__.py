"""How well lips and sound agree by SyncNet, asked from the server where it has that network."""
