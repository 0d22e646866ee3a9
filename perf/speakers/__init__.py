"""How often the right person is found to speak, on scenes composed of clips of single speakers."""
