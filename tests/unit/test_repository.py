from __future__ import annotations

from pathlib import Path

import pytest

from lipsync_core.repository import check_networks, missing_networks, required_models, served_models


def test_required_models_lists_needed_ones_first(tmp_path: Path) -> None:
    """Ensemble steps and called models come before the model that needs them, each once."""
    ensemble = (
        'platform: "ensemble" ensemble_scheduling { step [ { model_name: "a" model_version: -1 },'
        ' { model_name: "b" model_version: -1 } ] }'
    )
    calls = 'backend: "python" parameters { key: "calls" value { string_value: "b" } }'
    for name, text in {"top": ensemble, "a": calls, "b": 'backend: "python"'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert required_models(tmp_path, ["top"]) == ["b", "a", "top"]


def test_models_called_for_some_requests_count_once_exported(tmp_path: Path) -> None:
    """Without their network the caller is complete all the same."""
    calls = 'backend: "python" parameters { key: "optional_calls" value { string_value: "network" } }'
    for name, text in {"network": 'backend: "onnxruntime"', "caller": calls}.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert required_models(tmp_path, ["caller"]) == ["caller"]
    assert missing_networks(tmp_path, "caller") == []
    (tmp_path / "network" / "1" / "model.onnx").touch()
    assert required_models(tmp_path, ["caller"]) == ["network", "caller"]


def test_models_called_for_some_requests_may_lack_a_flavour(tmp_path: Path) -> None:
    """The caller is complete, and the flavour is served without them; with their network in it they are served too."""
    calls = 'backend: "python" parameters { key: "optional_calls" value { string_value: "network" } }'
    for name, text in {"network": 'backend: "onnxruntime"', "caller": calls}.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
    (tmp_path / "network" / "configs").mkdir()
    (tmp_path / "network" / "configs" / "torch.pbtxt").write_text('backend: "torch"')
    (tmp_path / "network" / "1" / "model.onnx").touch()
    assert missing_networks(tmp_path, "caller", "torch") == []
    assert missing_networks(tmp_path, "network", "torch") == ["network"]
    assert served_models(tmp_path, ["caller"], "torch") == ["caller"]
    assert served_models(tmp_path, ["caller"]) == ["network", "caller"]
    check_networks(tmp_path, served_models(tmp_path, ["caller"], "torch"), "torch")
    (tmp_path / "network" / "1" / "model.pt2").touch()
    assert served_models(tmp_path, ["caller"], "torch") == ["network", "caller"]


def test_required_models_fails_on_an_unknown_model(tmp_path: Path) -> None:
    """The message names what there is."""
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "config.pbtxt").write_text('backend: "python"')
    with pytest.raises(ValueError, match="expected one of faces .* got 'face'"):
        required_models(tmp_path, ["face"])


def test_models_without_their_network_are_known(tmp_path: Path) -> None:
    """A model misses what any model that it needs has not exported."""
    for name, text in {
        "network": 'backend: "onnxruntime"',
        "caller": 'backend: "python" parameters { key: "calls" value { string_value: "network" } }',
        "alone": 'backend: "python"',
    }.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(text)
    assert missing_networks(tmp_path, "caller") == ["network"]
    assert missing_networks(tmp_path, "alone") == []
    (tmp_path / "network" / "1" / "model.onnx").touch()
    assert missing_networks(tmp_path, "caller") == []
    (tmp_path / "network" / "configs").mkdir()
    (tmp_path / "network" / "configs" / "torch.pbtxt").write_text('backend: "torch"')
    assert missing_networks(tmp_path, "caller", "torch") == ["network"]
    (tmp_path / "network" / "1" / "model.pt2").touch()
    assert missing_networks(tmp_path, "caller", "torch") == []
    assert missing_networks(tmp_path, "caller", "other") == []


def test_check_networks_fails_with_the_command_that_writes_them(tmp_path: Path) -> None:
    """All that are missing are named in one line; with their files there is nothing to say."""
    for name in ("a", "b"):
        version = tmp_path / name / "1"
        version.mkdir(parents=True)
        text = f'backend: "onnxruntime" parameters {{ key: "export" value {{ string_value: "{name}s" }} }}'
        (tmp_path / name / "config.pbtxt").write_text(text)
    with pytest.raises(
        ValueError, match="got no model.onnx of a, b. Write them with: python -m export as, python -m export bs"
    ):
        check_networks(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        (tmp_path / name / "1" / "model.onnx").touch()
    check_networks(tmp_path, ["a", "b"])


def test_one_command_exports_what_a_pipeline_shares(tmp_path: Path) -> None:
    """A family's command writes the shared networks that its pipeline needs too, and no other family's."""
    for name, export, calls in (
        ("vae", "vae", ""),
        ("whisper", "whisper", ""),
        ("musetalk_unet", "musetalk", ""),
        ("musetalk", "musetalk", "musetalk_unet vae"),
    ):
        (tmp_path / name / "1").mkdir(parents=True)
        text = f'backend: "{"python" if calls else "onnxruntime"}"'
        for key, value in (("export", export), ("calls", calls)):
            text += f' parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' if value else ""
        (tmp_path / name / "config.pbtxt").write_text(text)
    with pytest.raises(ValueError, match="Write them with: python -m export musetalk \\(see"):
        check_networks(tmp_path, served_models(tmp_path, ["musetalk"]))
    with pytest.raises(ValueError, match="Write them with: python -m export musetalk, python -m export whisper \\("):
        check_networks(tmp_path, served_models(tmp_path, ["musetalk", "whisper"]))
