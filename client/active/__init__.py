"""Who speaks in a video: people's lips against the video's own sound."""
