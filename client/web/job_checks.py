"""Checks what a job asks for before it is queued: its models, its length, and where its end is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.errors import LipSyncError
from client.options import END, MODEL, OPTIONS, START
from client.scene.overrides import all_values
from client.storage.url_guard import UrlGuard
from client.web.callback_names import CALLBACK_URL
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, SettingsBase
from client.web.media_probe import MediaFacts, Span, check_lengths
from client.web.problem_kinds import CALLBACKS_OFF, WRONG_OPTION, WRONG_SCRIPT
from client.web.problems import ProblemError
from client.web.scripts import SCRIPT, WebScript, read_script, spoken_until_s
from client.web.settings import Settings
from client.web.triton import LoadedModels

Probe = Callable[[Sequence[Path]], Awaitable[list[MediaFacts]]]


class JobChecks:
    """What is checked of a job."""

    def __init__(self, settings: Settings, models: LoadedModels, probe: Probe, guard: UrlGuard) -> None:
        """Check jobs of a service.

        Args:
            settings: limits and secrets.
            models: what the server can run.
            probe: measures uploaded files.
            guard: says which web addresses may be connected to.
        """
        self._settings = settings
        self._models = models
        self.probe = probe
        self._guard = guard

    async def measure(
        self, folder: Path, choices: Mapping[str, Any], script: WebScript | None, max_s: float
    ) -> float | None:
        """Return how long the speech in a folder lasts, in seconds; None if that is unknown.

        Args:
            folder: folder of the files.
            choices: the job's choices.
            script: who speaks when; the voice that ends last counts.
            max_s: the longest that is allowed.

        Raises:
            ProblemError: 422, the job would be too long.
        """
        voices = (AUDIO_FILE,) if script is None else script.voices
        video, *sounds = await self.probe([folder / name for name in (VIDEO_FILE, *voices)])
        name, audio = AUDIO_FILE, sounds[0]
        if script is not None:
            name, until_s = spoken_until_s(script.scene, dict(zip(voices, sounds, strict=True)))
            audio = MediaFacts(length_s=until_s)
        span = Span(START.read(choices[START.name]), END.read(choices[END.name]))
        check_lengths(video, audio, span, max_s, name)
        return audio.length_s

    def check_models(self, settings: SettingsBase, script: WebScript | None) -> None:
        """Check that the server can run a job, each speaker of its script included.

        Raises:
            ProblemError: 422, it lacks a model or what a choice needs, or choices do not go together.
        """
        if script is None:
            self._models.check(settings.choices())
            return
        try:
            job = settings.job_options(Path(), script=script.scene)
        except LipSyncError as error:
            raise ProblemError.of(WRONG_SCRIPT if error.about else WRONG_OPTION, [error]) from error
        for values in all_values(job.values, script.scene):
            self._models.check(values.as_json(OPTIONS))

    async def check_callback(self, user: str, url: str) -> None:
        """Check where the end of a job is to be told.

        Raises:
            ProblemError: 403, the service sends no callbacks.
            AddressRefused: the address leads nowhere.
        """
        if self._settings.callback_secret_of(user) is None:
            raise ProblemError(
                CALLBACKS_OFF, name=CALLBACK_URL, expected="none", got="one, for which this service has no secret"
            )
        await self._guard.check(CALLBACK_URL, url)

    def check_model(self, fields: Mapping[str, str]) -> None:
        """Check the models of an upload before its files arrive, as far as they are known already.

        Raises:
            ProblemError: 422, the server has not loaded one, or the script cannot be used.
        """
        names = set(read_script(fields[SCRIPT]).models if SCRIPT in fields else ())
        if SCRIPT not in fields:  # speakers need not use the job's own
            names |= {fields.get(MODEL.name, "")}
        for name in names.intersection(MODEL.kind.schema()["enum"]):
            self._models.check({MODEL.name: name})
