"""SyncNet, the network of the lip-sync figures LSE-D, LSE-C and offset."""
