"""The lanes of a job: who is drawn over the pictures, with which generator, and when."""
