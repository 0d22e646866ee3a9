from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.musetalk.boxes import boxes_from_landmarks
from lipsync_core.musetalk.faces import PlacedFace, crop_face, crop_surroundings
from lipsync_core.musetalk.latents import draw_noise, face_latents
from lipsync_core.musetalk.parsing import parser_input
from lipsync_core.musetalk.windows import audio_tokens
from lipsync_core.reasons import Reason
from lipsync_core.whisper.padded import padded_segments
from tests import fake_triton
from tests.data.wav2lip_goldens import astronaut
from tests.fake_triton import ask, outputs

ROOT = Path(__file__).resolve().parents[2]
LANDMARKS = np.load(ROOT / "tests" / "data" / "astronaut_landmarks.npy").astype(np.float32)
PICTURE = astronaut()
FRAMES = np.repeat(PICTURE[None], 2, axis=0)
BOX = boxes_from_landmarks(LANDMARKS[None], np.zeros(1, int), *PICTURE.shape[:2])[0]
BOXES = np.stack([BOX, np.full(4, np.nan, np.float32)])
MESHES = np.stack([LANDMARKS, np.full_like(LANDMARKS, np.nan)])
UPRIGHT = PlacedFace(PICTURE, tuple(BOX.astype(int).tolist()))
RANDOM = np.random.default_rng(0)
VISIBLE = {"mouth_strengths": np.array([1, 0], np.float32), "mouth_reasons": np.array([0, 1], np.int32)}
DECODED = RANDOM.uniform(-1.2, 1.2, (2, 3, 256, 256)).astype(np.float32)
LABELS = np.ones((2, 512, 512), np.uint8)
FEATURES = RANDOM.normal(size=(40, 5, 384)).astype(np.float32)
STARTS = np.array([-4, 12], np.int32)


def paste(**inputs: np.ndarray) -> dict[str, np.ndarray]:
    given = {"frames": FRAMES, "face_boxes": BOXES, "decoded": DECODED, "face_landmarks": MESHES, **inputs}
    return outputs(ask("musetalk_paste", **given))


def test_musetalk_faces_come_masked_then_whole() -> None:
    """Of the largest face by default; a frame without a face is black."""
    calls = {"largest_face": lambda _: {"face_landmarks": MESHES}, "visible_mouths": lambda _: VISIBLE}
    found = outputs(ask("musetalk_crop", calls, frames=FRAMES))
    whole = (crop_face(UPRIGHT) / np.float32(127.5) - 1).transpose(2, 0, 1)
    assert np.array_equal(found["images"][1], whole)
    assert np.array_equal(found["images"][0, :, :128], whole[:, :128])
    assert (found["images"][0, :, 128:] == -1).all()
    assert (found["images"][2:] == -1).all()
    assert np.array_equal(found["face_boxes"], BOXES, equal_nan=True)
    for name, expected in VISIBLE.items():
        assert np.array_equal(found[name], expected)


def test_musetalk_crop_takes_given_boxes_and_no_more_frames_than_the_encoder() -> None:
    """No face is looked for, and the limit is named."""
    found = outputs(ask("musetalk_crop", {"visible_mouths": lambda _: VISIBLE}, frames=FRAMES, boxes=BOXES))
    assert np.array_equal(found["face_boxes"], BOXES, equal_nan=True)
    assert np.isnan(found["face_landmarks"]).all()
    error = ask("musetalk_crop", frames=np.zeros((17, 8, 8, 3), np.uint8)).error()
    assert "frames: expected at most 16 in a chunk, got 17" in error.message()


def test_musetalk_parser_sees_the_square_around_the_face() -> None:
    """Black without a face."""
    seen = []

    def parser(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs["images"])
        return {"labels": LABELS}

    given = {"frames": FRAMES, "face_boxes": BOXES, "face_landmarks": MESHES}
    assert np.array_equal(outputs(ask("musetalk_parse", {"face_parsing": parser}, **given))["labels"], LABELS)
    assert np.array_equal(seen[0], parser_input([crop_surroundings(UPRIGHT), None]))
    assert len(np.unique(seen[0][1])) == 3


def test_musetalk_mouth_alone_needs_no_parser() -> None:
    """The other areas do, and the error says what helps."""
    given = {"frames": FRAMES, "face_boxes": BOXES, "face_landmarks": MESHES}
    found = outputs(ask("musetalk_parse", **given, mouth_area=np.array([b"mouth"], object)))["labels"]
    assert found.shape == (2, 512, 512)
    error = ask("musetalk_parse", **given, mouth_area=np.array([b"jaw"], object)).error()
    assert "face_parsing: expected a server with this model, got one without. Choose the mouth area mouth" in (
        error.message()
    )
    assert error.code() == fake_triton.TritonError.INVALID_ARG


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mouth_area": np.array([b"chin"], object)}, "mouth_area: expected one of mouth, jaw, raw, neck, got 'chin'"),
        ({"cheek_widths": np.array([0, 257], np.int32)}, "cheek_widths: expected 0 to 256 each, got 0, 257"),
        ({"face_latents": np.zeros((1, 8, 32, 32), np.float32)}, "face_latents: expected one row for each of 2 frames"),
    ],
)
def test_musetalk_parse_fails_on_what_does_not_fit(inputs: dict[str, np.ndarray], message: str) -> None:
    """Before the parser and the networks after it are asked."""
    given = {"frames": FRAMES, "face_boxes": BOXES, "face_landmarks": MESHES, **inputs}
    error = ask("musetalk_parse", {"face_parsing": lambda _: {"labels": LABELS}}, **given).error()
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_musetalk_frames_keep_their_latents() -> None:
    """A faceless frame in between leaves those of its neighbours as they are, which the original shifts."""
    moments = RANDOM.normal(size=(6, 8, 32, 32)).astype(np.float32)
    numbers = np.array([4, 5, 6], np.int32)
    found = outputs(ask("musetalk_latents", moments=moments, frame_numbers=numbers, seed=np.array([7])))
    for row, number in enumerate(numbers):
        own = moments[2 * row : 2 * row + 2]
        expected = face_latents(own, draw_noise(7, np.array([number])))
        assert np.array_equal(found["face_latents"][row : row + 1], expected)


def test_musetalk_latents_take_given_noise() -> None:
    """For comparison with another generator."""
    moments, noise = np.zeros((2, 8, 32, 32), np.float32), RANDOM.normal(size=(2, 4, 32, 32)).astype(np.float32)
    found = outputs(ask("musetalk_latents", moments=moments, noise=noise))["face_latents"]
    np.testing.assert_allclose(found.reshape(noise.shape), noise * np.float32(0.18215), rtol=1e-6)
    message = ask("musetalk_latents", moments=moments, frame_numbers=np.arange(2, dtype=np.int32)).error().message()
    assert "frame_numbers: expected one row for each of 1 frames, got 2" in message


def test_musetalk_tokens_follow_the_features() -> None:
    """The model gives what the pure function gives, and passes finished tokens on."""
    tokens = audio_tokens(FEATURES, STARTS)
    found = outputs(ask("musetalk_tokens", audio_features=FEATURES, window_starts=STARTS, face_boxes=BOXES))
    assert np.array_equal(found["face_tokens"], tokens)
    assert np.array_equal(outputs(ask("musetalk_tokens", audio_tokens=tokens))["face_tokens"], tokens)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected audio_tokens, or audio_features with window_starts"),
        ({"audio_features": FEATURES}, "expected audio_tokens, or audio_features with window_starts"),
        (
            {"audio_features": FEATURES, "window_starts": STARTS[:1], "face_boxes": BOXES},
            "window_starts: expected one row for each of 2 frames, got 1",
        ),
        (
            {"audio_features": FEATURES, "window_starts": STARTS[:1], "labels": LABELS},
            "window_starts: expected one row for each of 2 frames, got 1",
        ),
        ({"audio_tokens": np.full((1, 50, 384), np.nan, np.float32)}, "audio_tokens: expected finite values"),
    ],
)
def test_musetalk_tokens_fail_without_speech(inputs: dict[str, np.ndarray], message: str) -> None:
    """What is missing or wrong is named."""
    error = ask("musetalk_tokens", **inputs).error()
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_musetalk_pastes_below_the_bridge_of_the_nose_alone() -> None:
    """A frame without a face stays, and says why."""
    found = paste(labels=LABELS)
    changed = (found["synced_frames"] != FRAMES).any(axis=-1)
    middle = (UPRIGHT.box[1] + UPRIGHT.box[3]) // 2
    assert changed[0].sum() > 1000
    assert not changed[0, : middle - 20].any()
    assert not changed[1].any()
    assert found["strengths"].tolist() == [1, 0]
    assert found["reasons"].tolist() == [Reason.CHANGED, Reason.NO_FACE]


def test_musetalk_areas_grow_from_the_mouth_to_the_neck() -> None:
    """The mouth alone needs no labels, and is the default without them; the neck belongs to its area alone."""
    labels = LABELS.copy()
    labels[:, 400:] = 14
    sizes = {}
    for area in ("mouth", "jaw", "raw", "neck"):
        synced = paste(labels=labels, mouth_area=np.array([area.encode()], object))["synced_frames"]
        sizes[area] = int((synced[0] != FRAMES[0]).any(axis=-1).sum())
    assert sizes["mouth"] < 0.5 * sizes["raw"] < 0.5 * sizes["jaw"]
    assert sizes["raw"] < sizes["neck"]
    alone = paste()["synced_frames"]
    assert int((alone[0] != FRAMES[0]).any(axis=-1).sum()) == sizes["mouth"]


def test_musetalk_edges_are_softer_than_the_originals() -> None:
    """The original's blur is half as wide."""
    hard = paste(labels=LABELS, original=np.array([True]))["synced_frames"]
    soft = paste(labels=LABELS)["synced_frames"]
    changed = [(frames[0] != PICTURE).any(axis=-1).sum() for frames in (hard, soft)]
    assert changed[0] < changed[1]


def test_musetalk_mouths_that_cannot_be_seen_are_not_pasted() -> None:
    """At strength 0 the frame stays; in between it is a mixture; boxes alone are not judged."""
    judged = {"mouth_reasons": np.array([Reason.COVERED, 0], np.int32), "labels": LABELS}
    none = paste(mouth_strengths=np.zeros(2, np.float32), **judged)
    assert np.array_equal(none["synced_frames"], FRAMES)
    assert none["reasons"].tolist() == [Reason.COVERED, Reason.NO_FACE]
    half = paste(mouth_strengths=np.array([0.5, 1], np.float32), **judged)["synced_frames"][0].astype(int)
    whole = paste(labels=LABELS)["synced_frames"][0].astype(int)
    assert np.abs(half - (whole + PICTURE) / 2).max() <= 1
    given = {"frames": FRAMES, "face_boxes": BOXES, "decoded": DECODED, "labels": LABELS}
    unjudged = outputs(ask("musetalk_paste", **given, mouth_strengths=np.zeros(2, np.float32), mouth_reasons=STARTS))
    assert unjudged["strengths"].tolist() == [1, 0]


def test_musetalk_strengths_and_reasons_may_be_given_alone() -> None:
    """Each counts without the other."""
    hidden = paste(mouth_strengths=np.zeros(2, np.float32), labels=LABELS)
    assert np.array_equal(hidden["synced_frames"], FRAMES)
    assert hidden["strengths"].tolist() == [0, 0]
    shown = paste(mouth_reasons=np.array([Reason.COVERED, 0], np.int32), labels=LABELS)
    assert np.array_equal(shown["synced_frames"], paste(labels=LABELS)["synced_frames"])
    assert shown["strengths"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mouth_area": np.array([b"chin"], object)}, "mouth_area: expected one of mouth, jaw, raw, neck, got 'chin'"),
        ({"mouth_area": np.array([b"jaw"], object)}, "labels: expected parsed faces for the mouth area jaw"),
        ({"face_landmarks": MESHES[::-1]}, "landmarks: expected those of every face for the mouth area mouth"),
        ({"labels": LABELS * 19}, "labels: expected classes 0 to 18, got 19"),
        ({"labels": LABELS[:1]}, "labels: expected one row for each of 2 frames, got 1"),
        ({"decoded": DECODED[:1]}, "decoded: expected one row for each of 2 frames, got 1"),
        ({"face_boxes": BOXES[:1]}, "face_boxes: expected one row for each of 2 frames, got 1"),
        ({"face_landmarks": MESHES[:1]}, "face_landmarks: expected one row for each of 2 frames, got 1"),
        ({**VISIBLE, "mouth_strengths": np.ones(1, np.float32)}, "mouth_strengths: expected one row for each of 2 fra"),
        ({**VISIBLE, "mouth_reasons": np.zeros(3, np.int32)}, "mouth_reasons: expected one row for each of 2 frames"),
        ({"labels": LABELS, "cheek_widths": np.array([0, 257], np.int32)}, "cheek_widths: expected 0 to 256 each"),
    ],
)
def test_musetalk_paste_fails_on_what_does_not_fit(inputs: dict[str, np.ndarray], message: str) -> None:
    """Each with its name."""
    given = {"frames": FRAMES, "face_boxes": BOXES, "decoded": DECODED, "face_landmarks": MESHES, **inputs}
    error = ask("musetalk_paste", **given).error()
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_musetalk_segments_of_speech_have_the_normalised_state() -> None:
    """The mel of each segment by itself, and the encoder's last state after the norm in the other one's place."""
    audio = RANDOM.normal(0, 0.1, 1000).astype(np.float32)
    found = outputs(ask("whisper_padded_mel", audio=audio))
    assert np.array_equal(found["mel"], padded_segments(audio))
    assert found["position_counts"].tolist() == [3]
    states = RANDOM.normal(size=(1, 1500, 5, 384)).astype(np.float32)
    last = RANDOM.normal(size=(1, 1500, 384)).astype(np.float32)
    counts = found["position_counts"]
    features = outputs(ask("whisper_trim", states=states, position_counts=counts, normalised_state=last))
    expected = np.concatenate([states[0, :3, :4], last[0, :3, None]], axis=1)
    assert np.array_equal(features["audio_features"], expected)


def test_musetalk_speech_fails_if_too_long_for_one_request() -> None:
    """The limit is named."""
    error = ask("whisper_padded_mel", audio=np.zeros(8 * 480_000 + 1, np.float32)).error()
    assert "audio: expected at most 240 s in one request, got 240.0 s" in error.message()
