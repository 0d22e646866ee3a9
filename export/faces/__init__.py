"""Mediapipe's face detector and face landmarks."""
