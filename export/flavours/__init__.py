"""Writes the flavours of the models, configs/*.pbtxt, from config.pbtxt and the few lines that differ."""
