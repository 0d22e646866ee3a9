from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.cli.serve import build_parser
from client.errors import UsageError
from client.offer import models_to_serve, offers_of_repository, weights_warnings
from lipsync_core.repository import exported_models, missing_networks
from lipsync_core.serving.launch import _exported_models as launched_models
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from lipsync_core.serving.server_log import asked_of_another_version
from lipsync_core.syncnet.models import SYNCNET_MODELS
from lipsync_core.weights import WeightsNote, write_note
from tests.conftest import REPOSITORY


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """All configurations of the project, without any network."""
    for config in REPOSITORY.glob("*/config.pbtxt"):
        (tmp_path / config.parent.name / "1").mkdir(parents=True)
        shutil.copy(config, tmp_path / config.parent.name)
        if (config.parent / "configs").is_dir():
            shutil.copytree(config.parent / "configs", tmp_path / config.parent.name / "configs")
    return tmp_path


def write_networks(repository: Path, model: str, *, synthetic: bool = False) -> None:
    """Put an empty file in the place of each network that a model needs."""
    for name in missing_networks(repository, model):
        (repository / name / "1" / "model.onnx").touch()
        if synthetic:
            write_note(repository / name / "1" / "model.onnx", WeightsNote(seed_shift=0))


def sentences(repository: Path, models: list[str], config_name: str | None = None) -> list[str]:
    return [offer.sentence() for offer in offers_of_repository(repository, models, config_name)]


def test_generators_are_listed_by_the_names_that_jobs_use(repository: Path) -> None:
    """Each is ready, or the command that writes its networks is named."""
    for model in ("mouth_motion", "faces", "voice_activity"):
        write_networks(repository, model)
    assert sentences(repository, exported_models(repository)) == [
        "mouth-motion: ready",
        "wav2lip: not exported. Export its networks with: python -m export wav2lip (see --help)",
        "musetalk: not exported. Export its networks with: python -m export musetalk (see --help)",
        "latentsync: not exported. Export its networks with: python -m export latentsync (see --help)",
    ]
    assert sentences(repository, ["faces"])[0] == "mouth-motion: the server has no mouth_motion, voice_activity"
    write_networks(repository, "wav2lip")
    assert sentences(repository, exported_models(repository))[1] == "wav2lip: ready"
    (repository / "latentsync_unet" / "1" / "model.onnx").touch()
    (repository / "latentsync_unet_shallow" / "1" / "model.onnx").touch()
    assert sentences(repository, exported_models(repository))[3] == (
        "latentsync: not exported. Export its networks with: python -m export vae, python -m export whisper"
        " (see --help)"
    )
    assert sentences(repository, ["wav2lip", "faces", "voice_activity"], "torch")[3] == (
        "latentsync: not exported. Export its networks with: python -m export latentsync --format torch (see --help)"
    )


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (
            "voice_activity",
            "mouth-motion: ready, but only with in_silence model: the server has no voice_activity."
            " Export what is missing with: python -m export voice (see --help)",
        ),
        (
            "mouth_cover",
            "mouth-motion: not exported. Export its networks with: python -m export faces (see --help)",
        ),
    ],
)
def test_networks_of_all_pipelines_are_listed_too(repository: Path, network: str, expected: str) -> None:
    """Also those that no pipeline is named after, with the command that writes them."""
    for model in ("mouth_motion", "faces", "voice_activity"):
        write_networks(repository, model)
    (repository / network / "1" / "model.onnx").unlink()
    assert sentences(repository, exported_models(repository))[0] == expected


def test_a_repository_of_another_version_fails(repository: Path) -> None:
    """One line says so, whatever it is that the installed client does not find."""
    shutil.rmtree(repository / "voice_activity")
    with pytest.raises(UsageError, match=r"expected the models of this version, got one without voice_activity\. Inst"):
        sentences(repository, ["faces"])
    server = EmbeddedServer(ServerOptions(repository, ("faces", "voice_activity")))
    with pytest.raises(ServerStartError, match=r"this version, got one without voice_activity\. Install the client"):
        server.__enter__()
    log = """E1129 backend_model.cc:692] "ERROR: Failed to create instance: ImportError: cannot import name 'flow' from
 'lipsync_core.mouth' (/usr/lib/lipsync_core/mouth/__init__.py)\\n\\nAt:\\n  /tmp/models/mouth_warp/1/model.py(6)"
""".replace("\n '", " '")
    assert asked_of_another_version(log) == "cannot import name 'flow' from 'lipsync_core.mouth'"
    missing = "Internal: ModuleNotFoundError: No module named 'lipsync_core.musetalk'\\n\\nAt:\\n  /tmp/models"
    assert asked_of_another_version(missing) == "No module named 'lipsync_core.musetalk'"
    assert asked_of_another_version("ImportError: libGL.so.1: cannot open shared object file") is None


def test_made_up_weights_are_told(repository: Path) -> None:
    """In one line, with the command that replaces them, for what runs on them and for nothing else."""
    write_networks(repository, "mouth_motion")
    write_networks(repository, "faces")
    write_networks(repository, "wav2lip", synthetic=True)
    assert weights_warnings(repository, ["mouth_motion", "faces"]) == []
    line = (
        "synthetic weights in wav2lip_generator: the pictures are noise."
        " Export real weights with: python -m export wav2lip"
    )
    for flavour in (None, "tensorrt"):  # engines are built from the same graph
        assert weights_warnings(repository, ["faces", "wav2lip"], flavour) == [f"{line} (see --help)"]
    assert weights_warnings(repository, ["faces", "wav2lip"], "torch") == []


def test_syncnet_of_made_up_weights_is_served_only_if_named(repository: Path) -> None:
    """By `lipsync serve`, the service, Ray and the container alike: its figures would mean nothing."""
    for model in ("mouth_motion", "faces", *SYNCNET_MODELS):
        write_networks(repository, model, synthetic=model in SYNCNET_MODELS)
    assert "faces" in models_to_serve(repository, None)
    assert not {*SYNCNET_MODELS} & {*models_to_serve(repository, None), *launched_models(repository, None)}
    assert models_to_serve(repository, [*SYNCNET_MODELS]) == [*SYNCNET_MODELS]
    for note in repository.glob("syncnet_*/1/*.weights.json"):
        note.unlink()
    assert {*SYNCNET_MODELS} <= {*models_to_serve(repository, None)} & {*launched_models(repository, None)}


def test_serving_fails_for_what_is_not_there(repository: Path) -> None:
    """Unknown models and flavours, and a folder without models, are wrong usage."""
    with pytest.raises(UsageError, match=r"model: expected one of .* got 'wav2lop'"):
        models_to_serve(repository, ["wav2lop"])
    with pytest.raises(UsageError, match=r"model_config_name: expected one of tensorrt, torch, .* got 'torhc'"):
        models_to_serve(repository, None, "torhc")
    one = repository / "one"
    shutil.copytree(repository / "s3fd", one / "s3fd")
    with pytest.raises(UsageError, match="expected exported models, got none in .* Run: make models"):
        models_to_serve(one, None)
    with pytest.raises(UsageError, match=r"expected a model repository, got none in .*nowhere\. It is the folder"):
        models_to_serve(repository / "nowhere", None)


def test_a_port_that_cannot_be_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel would take another one in its place."""
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(["--grpc-port", "99999"])
    assert end.value.code == 2
    assert "--grpc-port: expected a port, 1 to 65535, got '99999'" in capsys.readouterr().err
