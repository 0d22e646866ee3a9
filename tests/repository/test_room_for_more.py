"""A pipeline takes one module and one line, an option one entry: every front end finds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PIPELINE = '''
"""A pipeline that exists in this test alone."""

from client.option import Option
from client.option_kinds import Number
from client.pipeline import Pipeline
from client.pipelines.mouth_motion import MouthMotion
from client.tracking.finder import MEDIAPIPE

WARMTH = Option("warmth", Number(0, 9, integer=True), 3, "How warm the mouth is.", "Warmth")
THROWAWAY = Pipeline(
    name="throw-away",
    title="Throw-away",
    summary="nothing",
    description="Generates nothing.",
    needs="nothing",
    weights_licence="none",
    models=("mouth_motion",),
    detectors=(MEDIAPIPE,),
    make_generator=MouthMotion,
    options=(WARMTH,),
    own_choices={"if_audio_shorter": ("cut",)},
)
'''
PIPELINE_LINE = ("PIPELINES: tuple[Pipeline, ...] = (", "PIPELINES: tuple[Pipeline, ...] = (THROWAWAY, ")
IMPORT_LINE = (
    "from client.pipelines.wav2lip import WAV2LIP",
    "from client.pipelines.throwaway import THROWAWAY\nfrom client.pipelines.wav2lip import WAV2LIP",
)
OPTION_ENTRY = (
    "    CONTAINER,\n",
    '    Option("sparkle", Switch(), default=False, help="Add sparkles.", label="Sparkles"),\n    CONTAINER,\n',
)
LOOK = """
import json, sys
from pathlib import Path
from client.batch import read_jobs
from client.cli.reference import options_table, pipelines_table
from client.cli.run import build_parser, job_options
from client.errors import UsageError
from client.job_options import JobOptions
from client.options import MODEL, OPTIONS
from client.resume.job_folder import facts_of
from client.web.form import option_list
from client.web.job_settings import JobSettings

named = {option.name: option for option in OPTIONS}
files = ["--video", "v", "--audio", "a", "--output", "o"]
chosen = job_options(build_parser().parse_args([*files, "--model", "throw-away", "--warmth", "5", "--sparkle"]))
lines = Path(sys.argv[1])
entry = {"video": "v", "audio": "a", "output": "o", "model": "throw-away", "warmth": 6, "sparkle": True}
lines.write_text(json.dumps(entry))
(job,) = read_jobs(lines, {})
settings = JobSettings(model="throw-away", warmth=7, sparkle=True)
api = settings.job_options(Path("/nowhere"))

class Triton:
    def identity(self, model):
        return model

(lines.parent / "v").write_bytes(b"v")
(lines.parent / "a").write_bytes(b"a")
kept = JobOptions(lines.parent / "v", lines.parent / "a", lines.parent / "o", chosen.values)


def refusal(read):
    try:
        read()
    except (ValueError, UsageError) as error:
        return str(error)


def in_batch():
    lines.write_text(json.dumps({**entry, "if_audio_shorter": "cut", "model": "wav2lip", "warmth": 3}))
    (job,) = read_jobs(lines, {})
    raise job.problem


cut = ["--if-audio-shorter", "cut"]
job_options(build_parser().parse_args([*files, "--model", "throw-away", *cut]))
refused = refusal(lambda: JobSettings(model="wav2lip", warmth=7))
refused_choices = [
    refusal(lambda: job_options(build_parser().parse_args([*files, "--model", "wav2lip", *cut]))),
    refusal(in_batch),
    refusal(lambda: JobSettings(model="wav2lip", if_audio_shorter="cut")),
]
print(json.dumps({
    "help": build_parser().format_help(),
    "cli": [chosen.pipeline.name, chosen.values[named["warmth"]], chosen.values[named["sparkle"]]],
    "batch": [job.options.pipeline.name, job.options.values[named["warmth"]], job.options.values[named["sparkle"]]],
    "api": [api.pipeline.name, api.values[named["warmth"]], api.values[named["sparkle"]]],
    "schema": JobSettings.model_json_schema()["properties"],
    "page": [option.name for group in option_list().groups for option in group.options],
    "models": named["model"].kind.schema()["enum"],
    "docs": options_table() + pipelines_table(),
    "resume": facts_of(kept, Triton()),
    "refused": refused,
    "refused_choices": refused_choices,
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the front ends of a copy of the client show after the two additions."""
    pytest.importorskip("fastapi", reason="no web packages")
    folder = tmp_path_factory.mktemp("room")
    shutil.copytree(ROOT / "client", folder / "client", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "client" / "pipelines" / "throwaway.py").write_text(PIPELINE.lstrip())
    change(folder / "client" / "pipelines" / "__init__.py", IMPORT_LINE, PIPELINE_LINE)
    change(folder / "client" / "options.py", OPTION_ENTRY)
    (folder / "look.py").write_text(LOOK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "look.py", str(folder / "jobs.jsonl")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def change(path: Path, *replacements: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_the_command_line_batches_and_the_api_take_them(seen: dict[str, object]) -> None:
    """Each by its own way of reading."""
    assert seen["cli"] == ["throw-away", 5, True]
    assert seen["batch"] == ["throw-away", 6, True]
    assert seen["api"] == ["throw-away", 7, True]
    assert "throw-away only" in str(seen["help"])
    assert "--sparkle" in str(seen["help"])


def test_schema_page_and_documentation_show_them(seen: dict[str, object]) -> None:
    """With limits, default and words."""
    schema = seen["schema"]
    assert isinstance(schema, dict)
    assert schema["warmth"]["minimum"] == 0
    assert schema["warmth"]["default"] == 3
    assert schema["sparkle"]["description"] == "Add sparkles."
    assert "throw-away" in schema["model"]["enum"]
    assert {"warmth", "sparkle"} <= set(seen["page"])  # type: ignore[call-overload]
    assert "throw-away" in seen["models"]  # type: ignore[operator]
    docs = str(seen["docs"])
    assert "| `--warmth` | 0 to 9 | 3 | How warm the mouth is. |" in docs
    assert "| `throw-away`" in docs


def test_resume_depends_on_them(seen: dict[str, object]) -> None:
    """Other values make other answers."""
    facts = seen["resume"]
    assert isinstance(facts, dict)
    assert (facts["warmth"], facts["sparkle"]) == ("5", "True")


def test_the_option_of_another_pipeline_is_refused_everywhere(seen: dict[str, object]) -> None:
    """By the same rule and in the same words."""
    assert "warmth: expected model throw-away, got model wav2lip" in str(seen["refused"])


def test_the_choice_of_another_pipeline_is_refused_everywhere(seen: dict[str, object]) -> None:
    """One of an option that all pipelines have; help, schema and documentation say whose it is."""
    refused = seen["refused_choices"]
    assert isinstance(refused, list)
    assert len(refused) == 3
    said = "expected one of keep, stretch for wav2lip, got cut. Choose another one, or model throw-away"
    assert all("if_audio_shorter" in words and said in words for words in refused)
    note = "cut: throw-away only."
    assert note in seen["schema"]["if_audio_shorter"]["description"]  # type: ignore[index]
    assert note in str(seen["docs"])
    assert note in " ".join(str(seen["help"]).split())
