"""Options of all pipelines that choose when a video is lip-synced."""

from __future__ import annotations

from client.active.speaking import Speaking
from client.option import WITHOUT_FORM, Option
from client.option_kinds import Choice, Text
from client.scene.scene import TimeSpan
from client.scene.spans import parse_spans, show_spans

SECONDS = r"[0-9]{1,7}(\.[0-9]{1,6})?"
SYNC_ONLY: Option[tuple[TimeSpan, ...] | None] = Option(
    "sync_only",
    Text(
        parse_spans,
        "START-END in seconds, comma-separated, in order",
        "START-END,...",
        rf"{SECONDS}-({SECONDS})?(,{SECONDS}-({SECONDS})?)*",
        "12.5-31,60-75",
        show_spans,
        max_length=1000,
    ),
    None,
    "Lip-sync these spans alone, in seconds of the result. All else keeps the video's own picture and sound.",
    "Only these parts",
    "START-END in seconds, such as 12.5-31,60-75; all else keeps its picture and sound.",
    default_text="the whole video",
)
VOICE_CHANNELS: dict[str, int | None] = {"all": None, "left": 0, "right": 1}
VOICE_CHANNEL: Option[str] = Option(
    "voice_channel",
    Choice({"all": "All, mixed", "left": "The left one", "right": "The right one"}),
    "all",
    "Channel of the audio that is the voice, where two people were recorded left and right: left, right, or the average"
    " of all.",
    "Channel of the speech",
    "For recordings with two people, one left and one right.",
)
SPEAKING: Option[Speaking] = Option(
    "speaking",
    Choice({"lips": "The motion of the lips", "syncnet": "SyncNet"}),
    "lips",
    "What the face auto tells by who speaks: the motion of the lips, or SyncNet, which the server must have"
    " (lips was measured on real clips, syncnet was not).",
    "What tells who speaks",
    front_ends=WITHOUT_FORM,
)
