"""The web service and its page: one more caller of the client's jobs. Needs the extra `web`."""
