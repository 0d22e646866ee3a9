"""What can tell who speaks in a video: the names of the measures. Imports nothing, as options and reports need them."""

from __future__ import annotations

from typing import Literal

Speaking = Literal["lips", "syncnet"]
FOUND_BY: dict[Speaking, str] = {
    "lips": "who speaks was found by the motion of the lips",
    "syncnet": "who speaks was found by SyncNet",
}
