"""The face detector and landmark networks, from mediapipe's wheel."""
