"""Live output: lip-synced pictures of a prepared clip while somebody, or something, still speaks.

`client.live.stream.LiveSession` is the client's side; the server's is the model `live`, made of the other
modules.
"""
