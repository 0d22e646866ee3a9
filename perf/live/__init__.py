"""Live streams under load: a clip, speakers who talk to it, and what they get to see."""
