from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.active.syncnet_scores import SyncNetScores
from client.errors import RequestRejected
from client.media import VideoSource
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.syncnet.served import syncnet_to_serve
from client.syncnet.sound import TrackSound, VideoSound
from client.syncnet.towers import ServedTowers, towers_of
from client.tracking.faces import Face
from client.tracking.identity import SeenPerson
from lipsync_core.serving.server import EmbeddedServer
from lipsync_core.syncnet.distances import EMBEDDING, score
from lipsync_core.syncnet.mfcc import audio_windows, window_count
from perf.scores.syncnet.track_meter import TrackMeter
from tests.closeness import assert_close
from tests.data.syncnet_goldens import FOLDER, lip_frames, speech
from tests.server.clips import SPEECH, head_frame, swaying_head, write_film, write_video
from tests.server.jobs import job_runner

pytestmark = [pytest.mark.server, pytest.mark.long]

LAYER = 1e-4  # of an embedding's largest value: other processors sum in another order. One grey level darker is 0.007
DISTANCE = 1e-4  # of the largest distance
RECORDED = np.load(FOLDER / "networks.npz")


class Samples:
    """A sound in memory, read like an AudioSource."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples.astype(np.float32) / 32_768
        self.duration = len(samples) / 16_000

    def window(self, start: int, end: int) -> np.ndarray:
        inside = self.samples[max(start, 0) : end]
        before = max(0, -start)
        return np.pad(inside, (before, end - start - before - len(inside)))


@pytest.fixture(scope="module")
def triton(syncnet_server: EmbeddedServer) -> Iterator[TritonConnection]:
    with TritonConnection(syncnet_server.url) as connection:
        yield connection


@pytest.fixture(scope="module")
def towers(triton: TritonConnection) -> ServedTowers:
    found = towers_of(triton)
    assert found is not None
    return found


def test_recorded_embeddings_hold(towers: ServedTowers) -> None:
    """Three windows of lips and of sound; RGB goes in, as everywhere."""
    assert_close(towers.embed_lips(lip_frames()[..., ::-1].copy()), RECORDED["lips"], rel=LAYER)
    assert_close(towers.embed_sounds(audio_windows(speech())[5:8]), RECORDED["sounds"], rel=LAYER)


def test_many_windows_of_sound_go_in_several_requests(towers: ServedTowers) -> None:
    """More than the model takes at once."""
    windows = np.repeat(audio_windows(speech())[:1], 70, axis=0)
    found = towers.embed_sounds(windows)
    assert found.shape == (70, EMBEDDING)
    assert_close(found, np.repeat(found[:1], 70, axis=0), rel=LAYER)


def test_too_few_crops_fail(triton: TritonConnection, towers: ServedTowers) -> None:
    """Four crops are no window; the server goes on."""
    with pytest.raises(RequestRejected):
        triton.infer(InferRequest("syncnet_lips", {"crops": np.zeros((1, 4, 224, 224, 3), np.uint8)}))
    assert towers.embed_lips(lip_frames()).shape == (3, EMBEDDING)


def test_golden_figures_hold(towers: ServedTowers, reference_dir: Path) -> None:
    """40 frames of the original's clip with their sound, through the server."""
    goldens = np.load(reference_dir / "syncnet" / "e2e.npz")
    frames = goldens["frames112"][:40, ..., ::-1].repeat(2, axis=1).repeat(2, axis=2)
    meter = TrackMeter(towers, TrackSound(Samples(goldens["audio"]), 0, 0), window_count(40, len(goldens["audio"])))  # type: ignore[arg-type]
    for frame in frames:
        meter.add(frame)
    found = score(meter.distances())
    assert_close(meter.distances().mean(axis=0), goldens["f40_mean_dists"], rel=DISTANCE)
    assert (found.windows, found.offset) == (int(goldens["f40_n"]), int(goldens["f40_offset"]))
    assert found.lse_c == pytest.approx(float(goldens["f40_conf"]), abs=DISTANCE * found.lse_d)


def test_people_of_a_film_are_measured(towers: ServedTowers, tmp_path: Path) -> None:
    """Real frames, their own sound and the server: finite evidence for each frame."""
    film = write_film(tmp_path / "film.mkv", [head_frame()] * 30, speech()[: 30 * 640] / 32_768)
    video = VideoSource(film)
    scores = SyncNetScores(towers, VideoSound.of_video(video), float(video.time_base))
    face = SeenPerson(1, Face(np.array([60.0, 40, 160, 150], np.float32), 1.0), 1)
    frames = list(video.frames())
    for frame in frames:
        scores.see(frame, [face])
    assert scores.is_usable
    found = scores.evidence([1], np.arange(30), np.array([frame.time_s for frame in frames]), 25.0)
    assert found.shape == (30,)
    assert np.isfinite(found).all()
    assert len(scores._faces[1].table()[0]) == 26


def test_a_full_check_has_syncnets_figures(syncnet_server: EmbeddedServer, tmp_path: Path) -> None:
    """Of each speaker, beside the check's own; a quick check and the result do without."""
    run = job_runner(syncnet_server, if_audio_longer="cut")
    clip = write_video(tmp_path / "in.mp4", swaying_head(40))
    full = run(clip, SPEECH, tmp_path / "full.mp4", check="full")
    quick = run(clip, SPEECH, tmp_path / "quick.mp4", check="quick")
    assert full.quality is not None
    assert quick.quality is not None
    assert full.quality.failure is None
    (figures,) = [speaker.syncnet for speaker in full.quality.speakers]
    assert figures is not None
    assert figures.windows == 36
    assert np.isfinite([figures.lse_c, figures.lse_d]).all()
    assert f"LSE-C {figures.lse_c:.2f}, LSE-D {figures.lse_d:.2f}" in full.quality.sentence()
    assert [speaker.syncnet for speaker in quick.quality.speakers] == [None]
    assert (tmp_path / "full.mp4").read_bytes() == (tmp_path / "quick.mp4").read_bytes()


def test_a_server_without_syncnet_is_no_failure(
    triton: TritonConnection, syncnet_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lips decide then; a server started for a job gets no networks of synthetic weights either."""
    monkeypatch.setattr("client.syncnet.towers.SYNCNET_MODELS", ("syncnet_lips", "not_served"))
    assert towers_of(triton) is None
    assert syncnet_to_serve(syncnet_repository) == ()
    for model in ("syncnet_lips", "syncnet_sound"):
        (syncnet_repository / model / "1" / "model.onnx.weights.json").unlink()
    assert syncnet_to_serve(syncnet_repository) == ("syncnet_lips", "syncnet_sound")
