"""Who speaks when: the speakers of a video, their voices and faces, and the parts that are left alone."""
