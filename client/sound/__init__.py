"""The sound of a job: the voices that drive the lips, and the track that is written."""
