"""What an output carries over from its source beside the changed pictures and the speech."""
