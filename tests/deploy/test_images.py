from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.web.settings import build_parser
from lipsync_core.serving import launch
from tests.conftest import ROOT

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))
COMPOSE_FILES = sorted(DOCKER.glob("compose*.yaml"))


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_passes_hadolint(dockerfile: Path) -> None:
    """Its parser takes every instruction, and none of its rules for images is broken."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: pip install '.[dev]'")
    result = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_a_plain_user(dockerfile: Path) -> None:
    """By number, so that Kubernetes can tell; nothing after it needs root."""
    stages = re.split(r"^FROM ", dockerfile.read_text(), flags=re.M)[1:]
    for stage in stages:
        if "ENTRYPOINT" in stage:
            assert "USER 1000:1000" in stage
            assert "RUN" not in stage.partition("USER")[2]


def test_nvidias_release_is_written_once() -> None:
    """Server and engines come from the same one, whatever it is set to."""
    text = (DOCKER / "Dockerfile.triton").read_text()
    assert len(re.findall(r"\d\d\.\d\d-py3", text)) == 1
    assert len(re.findall(r"^FROM nvcr\.io/\S+:\$\{TRITON_TAG\}", text, flags=re.M)) == 2
    assert text.count("LIPSYNC_TRITON_TAG=${TRITON_TAG}") == 2


def test_server_image_has_the_compiler_that_the_torch_flavour_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that a missing compiler's message advises is one that the recipe installs."""
    device = pytest.importorskip("lipsync_core.programs.device", reason="no torch; run: make test")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match="expected a C\\+\\+ compiler") as missing:
        device.find_compiler("default")
    advised = re.search(r"apt-get install (\S+)\)", str(missing.value))
    installed = re.search(r"apt-get install -y --no-install-recommends (.+) &&", read_server_stage())
    assert advised is not None
    assert installed is not None
    assert advised[1] in installed[1].split()


def read_server_stage() -> str:
    """The recipe of the server's image."""
    return (DOCKER / "Dockerfile.triton").read_text().rpartition("FROM ")[2]


def test_weights_stay_out_of_images() -> None:
    """The build's context holds of each version folder only what git holds."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    after = lines[lines.index("!model_repository") + 1 :]
    assert after[:3] == ["model_repository/*/1/*", "!model_repository/*/1/.gitkeep", "!model_repository/*/1/*.py"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_copied_files_are_in_the_context(dockerfile: Path) -> None:
    """Everything that is copied exists, and .dockerignore lets it through."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), flags=re.M):
        for source in line.split():
            assert (ROOT / source).exists()
            assert source in allowed


@pytest.mark.parametrize("compose", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_declares_what_it_uses(compose: Path) -> None:
    """Networks, volumes, secrets, files and other services that a service names are there."""
    merged = {**read(DOCKER / "compose.yaml")["services"], **read(compose)["services"]}
    content = read(compose)
    for service in content["services"].values():
        assert set(service.get("networks", [])) <= set(content.get("networks", {}))
        assert set(service.get("secrets", [])) <= set(content.get("secrets", {}))
        assert set(service.get("depends_on", [])) <= set(merged)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in content["volumes"]
        if "build" in service:
            text = (ROOT / service["build"]["dockerfile"]).read_text()
            assert f" AS {service['build'].get('target', '')}" in text or "target" not in service["build"]


@pytest.mark.parametrize("compose", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_passes_options_that_the_launcher_knows(compose: Path) -> None:
    """A misspelt option would stop the container at its start."""
    launch.build_parser().parse_args(read(compose)["services"]["triton"]["command"])


def test_compiled_code_of_compose_is_kept_where_it_can_be_executed() -> None:
    """The cache lies in a volume, which the plain user may write: the root is read-only and Docker's tmpfs noexec."""
    stage = read_server_stage()
    cache = re.search(r"LIPSYNC_COMPILE_CACHE=(\S+)", stage)
    assert cache is not None
    base, overlay = (read(DOCKER / name) for name in ("compose.yaml", "compose.torch.yaml"))
    places = {}
    for volume in overlay["services"]["triton"]["volumes"]:
        source, target, *mode = volume.split(":")
        places[target] = (source, mode)
    (folder,) = [place for place in places if Path(cache[1]).is_relative_to(place)]
    source, mode = places[folder]
    assert source in overlay["volumes"]
    assert mode == []
    assert f"install -d -o 1000 -g 1000 {folder}\n" in stage  # a new volume gets the owner of the image's folder
    assert base["services"]["triton"]["read_only"] is True
    assert not any(Path(cache[1]).is_relative_to(place) for place in base["services"]["triton"]["tmpfs"])
    assert overlay["services"]["triton"]["command"] == ["--flavour", "torch"]


@pytest.mark.parametrize("compose", COMPOSE_FILES, ids=lambda path: path.name)
def test_images_of_others_have_full_names(compose: Path) -> None:
    """Not every engine takes a name without registry for one on Docker Hub; ours are built here."""
    for service in read(compose)["services"].values():
        assert "build" in service or "image" not in service or service["image"].startswith("docker.io/")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_base_images_have_full_names(dockerfile: Path) -> None:
    """Each is scratch, an earlier stage, or a name with its registry."""
    text = dockerfile.read_text()
    stages = {"scratch", *re.findall(r"^FROM .+ AS (\w+)$", text, flags=re.M)}
    for name in re.findall(r"^FROM (\S+)", text, flags=re.M):
        registry, slash, _ = name.partition("/")
        assert name in stages or (slash and "." in registry), name


def test_compose_keeps_services_apart_and_small() -> None:
    """Triton is reached by the web service and Prometheus alone; nothing listens beyond this host."""
    content = read(DOCKER / "compose.yaml")
    assert "ports" not in content["services"]["triton"]
    assert all(content["networks"][name]["internal"] for name in content["services"]["triton"]["networks"])
    for service in content["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_web_image_starts_the_service_as_it_is() -> None:
    """The extra that is installed and the options that are passed are the service's own."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    dockerfile = (DOCKER / "Dockerfile.web").read_text()
    installed = re.search(r"'\.\[([\w,]+)\]'", dockerfile)[1]  # type: ignore[index]
    assert {"web", *installed.split(",")} <= set(extras)
    entrypoint = re.search(r"^ENTRYPOINT (.+)$", dockerfile, flags=re.M)
    assert entrypoint is not None
    fixed = yaml.safe_load(entrypoint[1])[3:]
    build_parser().parse_args([*fixed, *read(DOCKER / "compose.yaml")["services"]["web"]["command"]])
