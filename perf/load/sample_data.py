"""Makes requests for every model from its config.pbtxt.

Inputs that other models make (boxes, landmarks, mel windows, audio tokens) are made by these models, so that each step
of a pipeline is measured on what it gets in a job. Tensors are told apart by name and rank, since in this project one
tensor has one name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.tracking.mouth_scan import profile_of
from lipsync_core.config_file import read_contract
from lipsync_core.contract import ModelContract, TensorSpec
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.weights import read_trained_resolution
from perf.load.sample_values import CHUNK_FRAMES, DEFAULT_FRAME_SIZE, SampleValues, fit, noise
from perf.load.tensor_makers import PROFILE_INPUTS, PROFILE_MODEL, TensorMakers, output_name, sent_inputs

DEFAULT_RESOLUTION = 256  # of LatentSync's faces, in pixels, if neither its UNet nor its aligning model tells


class SampleMaker:
    """Makes requests for the models of one repository, through a server that has the models they need.

    Attributes:
        contracts: The contracts of the repository's models, by name.
    """

    def __init__(self, repository: Path, flavour: str | None = None, frame_size: int = DEFAULT_FRAME_SIZE) -> None:
        """Read the repository's contracts.

        Args:
            repository: The model repository.
            flavour: The name of its configs/*.pbtxt; None for config.pbtxt.
            frame_size: Edge length of the frames, in pixels.

        Raises:
            ValueError: a config.pbtxt cannot be read.
        """
        names = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
        self.contracts = {name: read_contract(repository / name, flavour) for name in names}
        trained = read_trained_resolution(repository / "latentsync_unet" / VERSION_FOLDER)
        self._values = SampleValues(frame_size, trained or self._served_resolution())
        self._makers = TensorMakers(self.contracts, self._values.by_name)

    def needed_models(self, model: str) -> list[str]:
        """Return the models that make a model's inputs, and the model itself last."""
        return self._makers.needed_models(model)

    def inputs(self, connection: TritonConnection, model: str, count: int) -> dict[str, np.ndarray]:
        """Make all inputs of a model, optional ones included.

        Args:
            connection: A server with the models that `needed_models` names.
            model: The model.
            count: The number of frames; for a model with a batch axis, of one item.

        Returns:
            Arrays by name; for a model with a batch axis one item, without that axis.

        Raises:
            LipSyncError: a model that makes an input fails.
            ValueError: there is no way to make an input.
        """
        contract = self.contracts[model]
        known: dict[str, np.ndarray] = {}
        frames = 1 if contract.max_batch_size else count
        inputs = self._make_inputs(connection, contract, frames, known, all_inputs=True)
        return {name: array[0] for name, array in inputs.items()} if contract.max_batch_size else inputs

    def _make_inputs(
        self,
        connection: TritonConnection,
        contract: ModelContract,
        count: int,
        known: dict[str, np.ndarray],
        *,
        all_inputs: bool,
    ) -> dict[str, np.ndarray]:
        inputs = {}
        for tensor in sent_inputs(contract, all_inputs=all_inputs):
            rank = len(tensor.dims) + bool(contract.max_batch_size)
            value = self._value(connection, tensor, contract, count, known)
            inputs[tensor.name] = np.ascontiguousarray(fit(value, rank, tensor.dtype))
        return inputs

    def _value(
        self,
        connection: TritonConnection,
        tensor: TensorSpec,
        contract: ModelContract,
        count: int,
        known: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Make one input: here if possible, else by the model that makes it in a job."""
        if tensor.name in self._values.by_name:
            return self._values.by_name[tensor.name](count)
        if tensor.name in PROFILE_INPUTS:
            return self._profile(connection, known)[tensor.name]
        if tensor.name == "images":
            return self._values.images(tensor, count)
        maker = self._makers.maker(tensor, contract.name)
        if maker is None:
            return noise(tensor, contract, count)
        if tensor.dims[0] < 0 and contract.max_batch_size and not self.contracts[maker].max_batch_size:
            count = CHUNK_FRAMES  # frames within one item, as the UNet takes them
        key = f"{maker}.{output_name(tensor)}"
        if key not in known:
            inputs = self._make_inputs(connection, self.contracts[maker], count, known, all_inputs=False)
            outputs = connection.infer(InferRequest(maker, inputs))
            known |= {f"{maker}.{output}": array for output, array in outputs.items()}
        return known[key]

    def _profile(self, connection: TritonConnection, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Build the profile of the mouth, as a job's scan of the clip does."""
        if "mouth_template" not in known:
            frames = self._values.frames(CHUNK_FRAMES)
            landmarks = connection.infer(InferRequest(PROFILE_MODEL, {"frames": frames}))["face_landmarks"]
            profile = profile_of(frames, landmarks)
            if profile is None:
                raise ValueError("sample: expected a face in the photograph, got none. Are the face models exported?")
            known |= profile.tensors
        return known

    def _served_resolution(self) -> int:
        aligning = self.contracts.get("latentsync_align")
        return int(aligning.parameters["resolution"]) if aligning else DEFAULT_RESOLUTION
