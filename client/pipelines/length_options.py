"""Options of all pipelines that fit the video to the audio's length."""

from __future__ import annotations

from client.media import ORIGINAL, STRETCH, IfAudioLonger, IfAudioShorter
from client.option import Option
from client.option_kinds import Choice

AS_MANY = "As many frames as the original makes"

IF_AUDIO_LONGER: Option[IfAudioLonger] = Option(
    "if_audio_longer",
    Choice(
        {
            "bounce": "Play the video back and forth",
            "loop": "Start the video again",
            "hold": "Hold the last frame",
            "cut": "Cut the audio",
            STRETCH: "Speak faster",
            ORIGINAL: AS_MANY,
        }
    ),
    "bounce",
    "If the audio is longer than the video: play the video back and forth (bounce), restart it (loop), hold its last"
    " frame (hold), cut the audio (cut), speed the voice up to the video's length, at its pitch (stretch), or play back"
    " and forth for as many frames as the original makes (original).",
    "If the audio is longer",
)
IF_AUDIO_SHORTER: Option[IfAudioShorter] = Option(
    "if_audio_shorter",
    Choice({"keep": "Keep the whole video", "cut": "Cut the video", STRETCH: "Speak more slowly", ORIGINAL: AS_MANY}),
    "keep",
    "If the audio is shorter than the video: keep the whole video, in silence after the audio (keep), cut the"
    " video (cut), slow the voice down to the video's length, at its pitch (stretch), or cut it after as many frames as"
    " the original makes (original).",
    "If the audio is shorter",
)
ORIGINAL_LENGTH = {IF_AUDIO_LONGER.name: (ORIGINAL,), IF_AUDIO_SHORTER.name: (ORIGINAL,)}  # own choices of pipelines
