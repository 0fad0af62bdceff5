"""Export of the user tower to ONNX, so that the service runs the same model without torch."""

import tempfile
import warnings
from pathlib import Path
from typing import cast

import onnxruntime
import torch
from torch import Tensor, nn

from components.fusion.model import UserTower
from components.fusion.towers import DocumentTower

INPUTS = ("vectors", "ages", "signals", "documents", "present")


class ServedUserTower(nn.Module):
    """The user tower at a single time, now.

    Inputs: vectors (batch, history, width), ages in days before now and signals (batch, history), documents (batch, 2,
    encoder dims), present (batch, 2). Outputs: the long and the short part of U, each (batch, width).
    """

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = tower
        if document_towers := [cast(DocumentTower, tower_module) for tower_module in tower.documents]:
            self.means = torch.stack([tower_module.mean for tower_module in document_towers])
            self.scales = torch.stack([tower_module.scale for tower_module in document_towers])
            self.project = document_towers[0].whitening @ document_towers[0].project.weight.T

    def forward(
        self, vectors: Tensor, ages: Tensor, signals: Tensor, documents: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        document_towers = self._project_documents(documents, present)
        long, short = self.tower(vectors, ages, signals, ages[:, -1:], document_towers)
        return long[:, -1], short[:, -1]

    def _project_documents(self, documents: Tensor, present: Tensor) -> tuple[Tensor, ...]:
        """Same as `UserTower.read`, with whitening and projection folded into one matrix, as both are linear."""
        if not len(self.tower.documents):
            return ()
        document_towers = present[..., None] * self.scales * ((documents - self.means) @ self.project)
        return tuple(document_towers.split(1, dim=1))


def export_user_tower(tower: UserTower, width: int, dimension: int) -> bytes:
    """The optimised ONNX graph of the user tower, with dynamic batch size and history length.

    Args:
        tower: Moved to the CPU.
        width: Dimensions of the item vectors.
        dimension: Encoder dimensions of the documents.
    """
    length = tower.window + 1
    example = (
        torch.zeros(2, length, width),
        torch.zeros(2, length),
        torch.ones(2, length),
        torch.zeros(2, 2, dimension),
        torch.zeros(2, 2),
    )
    axes = {name: {0: "batch"} for name in (*INPUTS, "long", "short")}
    for name in INPUTS[:3]:
        axes[name][1] = "history"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        graph = Path(folder) / "user_tower.onnx"
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            ServedUserTower(tower.cpu()).eval(),
            example,
            str(graph),
            dynamo=False,
            input_names=list(INPUTS),
            output_names=["long", "short"],
            dynamic_axes=axes,
        )
        return _optimise(graph)


def _optimise(graph: Path) -> bytes:
    """Applies onnxruntime's hardware-independent optimisations once, instead of at every service start."""
    output, options = graph.with_suffix(".optimised.onnx"), onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(output)
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return output.read_bytes()
