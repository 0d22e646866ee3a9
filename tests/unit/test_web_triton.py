"""What the service knows of its Triton, and how it keeps one running."""

from __future__ import annotations

import threading

import pytest

from client.errors import (
    NoAnswer,
    ServerUnavailable,
)
from client.offer import models_of_pipelines
from client.pipelines.voice import VOICE_MODEL
from client.tracking.finder import S3FD
from client.web import triton
from lipsync_core.serving.runtime import ServerStartError
from tests.web_service import NO_TRITON


def test_frozen_triton_is_not_asked_by_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question may take seconds: that there was no answer is believed for a moment, too."""
    asked = []

    def frozen(_: triton.LoadedModels) -> None:
        asked.append(None)
        raise NoAnswer("a:1: expected an answer in time, got none")

    monkeypatch.setattr(triton.LoadedModels, "_ask", frozen)
    models = triton.LoadedModels(NO_TRITON)
    for _ in range(3):
        with pytest.raises(ServerUnavailable, match="got none"):
            models.get()
    assert len(asked) == 1
    monkeypatch.setattr(triton, "KNOWN_FOR_S", -1.0)
    with pytest.raises(ServerUnavailable):
        models.get()
    assert len(asked) == 2


def test_the_page_is_told_which_choices_a_model_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other models, and those that the server has no detector or parser for."""
    everything = models_of_pipelines() - {S3FD.model, "face_parsing"}
    monkeypatch.setattr(triton, "models_on_server", lambda *_: everything)
    lacking = {model.id: model.unavailable for model in triton.LoadedModels(NO_TRITON).get().models}
    lengths = {"if_audio_longer": ["original"], "if_audio_shorter": ["original"]}
    without_s3fd = {**lengths, "detector": ["s3fd"]}
    without_parser = {**lengths, "mouth_area": ["jaw", "raw", "neck"]}
    assert lacking == {"mouth-motion": lengths, "wav2lip": without_s3fd, "musetalk": without_parser, "latentsync": {}}


def test_the_page_is_told_what_a_server_without_voice_activity_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the model itself can draw in silence."""
    monkeypatch.setattr(triton, "models_on_server", lambda *_: models_of_pipelines() - {VOICE_MODEL})
    models = triton.LoadedModels(NO_TRITON).get().models
    assert [model.unavailable["in_silence"] for model in models] == [["close", "keep"]] * len(models)


def test_dead_triton_is_started_until_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a start that fails nor a disk that is full for a while ends the watch over it."""
    starts = iter([None, ServerStartError("no"), OSError("disk full")])
    lives = threading.Event()

    class Dying:
        def __enter__(self) -> None:
            trouble = next(starts, lives)
            if isinstance(trouble, Exception):
                raise trouble
            if trouble is lives:
                lives.set()

        def is_alive(self) -> bool:
            return lives.is_set()

        def stop(self) -> None: ...

        def log_excerpt(self) -> str:
            return ""

        def was_frozen(self) -> bool:
            return False

        def how_it_ended(self) -> str:
            return "without a word"

    monkeypatch.setattr(triton, "WATCH_EVERY_S", 0.01)
    monkeypatch.setattr(triton, "RESTART_AFTER_S", 0.01)
    with triton._Keeper(Dying()):  # type: ignore[arg-type]
        assert lives.wait(20)
