"""The web service and its page, which run the client's jobs. Needs the extra `web`."""
