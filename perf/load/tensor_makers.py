"""Finds the model that makes an input of another, from the contracts of a repository. Does not depend on a server."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lipsync_core.contract import ModelContract, TensorSpec

# Input -> the output that it is made from, where their names differ.
ALIASES = {
    "landmarks": "face_landmarks",
    "boxes": "face_boxes",
    "shapes": "mouth_shapes",
    "given_shapes": "mouth_shapes",
    "mel_windows": "mel",
    "audio_tokens": "face_tokens",
    "synced_faces": "faces",
}
PROFILE_INPUTS = ("mouth_template", "mouth_colours", "interior_frames", "interior_landmarks")
PROFILE_MODEL = "largest_face"  # finds the faces that a profile of the mouth is built from
OPTIONAL_SENT = ("audio", "frame_times", "window_starts")  # optional inputs that even a model that makes inputs gets


class TensorMakers:
    """Knows which model of a repository makes which tensor."""

    def __init__(self, contracts: Mapping[str, ModelContract], made_here: Collection[str]) -> None:
        """Take the contracts by model, and the names of inputs that need no model."""
        self._contracts = contracts
        self._made_here = made_here

    def needed_models(self, model: str) -> list[str]:
        """Return the models that make a model's inputs, and the model itself last."""
        needed: dict[str, None] = {}

        def visit(name: str, *, all_inputs: bool) -> None:
            for tensor in sent_inputs(self._contracts[name], all_inputs=all_inputs):
                maker = None if tensor.name in self._made_here else self.maker(tensor, name)
                if maker is not None and maker not in needed:
                    needed[maker] = None
                    visit(maker, all_inputs=False)

        visit(model, all_inputs=True)
        if any(tensor.name in PROFILE_INPUTS for tensor in self._contracts[model].inputs):
            needed[PROFILE_MODEL] = None
        return [*(name for name in needed if name != model), model]

    def maker(self, tensor: TensorSpec, consumer: str) -> str | None:
        """Return the model that makes an input of `consumer`; None if no model does.

        A model whose output has the rank of the input comes first, then one that is no ensemble, then one that needs
        the fewest other models.
        """
        name = output_name(tensor)
        batched = bool(self._contracts[consumer].max_batch_size)
        candidates = [
            (abs(len(output.dims) + bool(contract.max_batch_size) - len(tensor.dims) - batched), contract)
            for contract in self._contracts.values()
            for output in contract.outputs
            if output.name == name and compatible(output.dims, tensor.dims)
            if contract.name != consumer or tensor.optional
        ]
        simplest = sorted(
            candidates, key=lambda candidate: (candidate[0], bool(candidate[1].steps), len(candidate[1].needs))
        )
        return simplest[0][1].name if simplest else None


def output_name(tensor: TensorSpec) -> str:
    """Return the name of the output that an input is made from."""
    return ALIASES.get(tensor.name, tensor.name)


def sent_inputs(contract: ModelContract, *, all_inputs: bool) -> list[TensorSpec]:
    """Return all inputs of a model, or only those that it needs to make an input of another."""
    return [tensor for tensor in contract.inputs if all_inputs or not tensor.optional or tensor.name in OPTIONAL_SENT]


def compatible(dims: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether the fixed dimensions of two tensors agree, counted from the last."""
    pairs = list(zip(reversed(dims), reversed(wanted), strict=False))
    return all(a < 0 or b < 0 or a == b for a, b in pairs)
