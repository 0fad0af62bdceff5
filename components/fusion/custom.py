"""Custom fusions, named `module:Class`: imported, instantiated, and checked as training and serving will run them.

Errors surface before the training instead of after it.
"""

import importlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from components.fusion.fusions import CONTEXT, Fusion, UnknownFusion

INPUTS = ("long", "short", "context")
OUTPUTS = ("long_part", "short_part")
Inputs = tuple[Tensor, Tensor, Tensor]


def make_custom(kind: str, width: int) -> Fusion:
    """Imports, instantiates and checks a custom fusion.

    Args:
        kind: `module:Class`, importable from the working directory or the installed packages.
        width: Dimensions of the interests.

    Raises:
        UnknownFusion: It cannot be imported, instantiated, run or exported to ONNX, or its output is invalid.
    """
    fusion_class = find_class(kind)
    with as_unknown_fusion(kind, f"cannot be made with width {width}"):
        fusion = fusion_class(width)
    training = fusion.training
    for inputs in (example_inputs(2, 3, width), cold_start_inputs(width)):
        check_parts(kind, fusion.eval(), inputs)
    check_graph(kind, fusion, width)
    return fusion.train(training)


def find_class(kind: str) -> type[Fusion]:
    """The `Fusion` subclass named by `module:Class`. Raises UnknownFusion."""
    module, _, name = kind.partition(":")
    directory = str(Path.cwd())
    if directory not in sys.path:  # an installed command has only its own folder on sys.path
        sys.path.append(directory)
    importlib.invalidate_caches()
    with as_unknown_fusion(
        kind, f"cannot be imported; its module is looked for in {directory} and in the installed packages"
    ):
        members = vars(importlib.import_module(module))
    fusions = {
        key: value
        for key, value in members.items()
        if isinstance(value, type) and issubclass(value, Fusion) and value is not Fusion
    }
    if name not in fusions:
        problem = (
            "which is no subclass of components.fusion.fusions.Fusion" if name in members else "which is not there"
        )
        raise UnknownFusion(
            f"DUOTEMPO_FUSION__KIND {kind!r} names {name!r} of {members.get('__file__') or module}, {problem}; "
            f"its fusions: {', '.join(fusions) or 'none'}"
        )
    return fusions[name]


def example_inputs(users: int, events: int, width: int) -> Inputs:
    """Random but reproducible inputs of a fusion; does not advance the global random generator."""
    generator = torch.Generator().manual_seed(users)
    long, short = (torch.randn(users, events, width, generator=generator) for _ in range(2))
    return long, short, 5 * torch.rand(users, events, CONTEXT, generator=generator)


def cold_start_inputs(width: int) -> Inputs:
    """The inputs for a user without a history: zeros."""
    return torch.zeros(1, 1, width), torch.zeros(1, 1, width), torch.zeros(1, 1, CONTEXT)


@torch.no_grad()
def check_parts(kind: str, fusion: Fusion, inputs: Inputs) -> None:
    """Raises UnknownFusion unless the fusion returns two finite parts of the same shape as the interests."""
    with as_unknown_fusion(kind, f"fails on interests of shape {tuple(inputs[0].shape)}"):
        parts = fusion(*inputs)
        shapes = [tuple(part.shape) for part in parts]
        finite = all(torch.isfinite(part).all() for part in parts)
    if shapes != [tuple(inputs[0].shape)] * 2:
        raise UnknownFusion(
            f"the fusion {kind} gives parts of the shapes {shapes}: forward returns a long and a short part, each "
            f"of the shape {tuple(inputs[0].shape)} of the interests"
        )
    if not finite:
        raise UnknownFusion(
            f"the fusion {kind} gives parts that are not finite, where both interests are "
            f"{'zero' if not inputs[0].any() else 'random'}: guard its divisions, roots and logarithms"
        )


@torch.no_grad()
def check_graph(kind: str, fusion: Fusion, width: int) -> None:
    """Raises UnknownFusion unless the ONNX graph, which the service runs, gives the same result as torch."""
    session = onnxruntime.InferenceSession(export_fusion(kind, fusion, width))
    input_names = {entry.name for entry in session.get_inputs()}
    for inputs in (example_inputs(5, 4, width), cold_start_inputs(width)):
        feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True) if name in input_names}
        with as_unknown_fusion(kind, "fails as an ONNX graph, which the service runs"):
            onnx_parts = session.run(list(OUTPUTS), feed)
        for torch_part, onnx_part in zip(fusion(*inputs), onnx_parts, strict=True):
            if not np.allclose(torch_part.numpy(), onnx_part, atol=1e-4):
                raise UnknownFusion(
                    f"the fusion {kind} gives other parts as an ONNX graph, which the service runs: let no branch, "
                    "loop or constant of forward depend on the values or on their number, and draw nothing at random"
                )


def export_fusion(kind: str, fusion: Fusion, width: int) -> bytes:
    """The ONNX graph of the fusion alone, with dynamic numbers of users and events."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        graph = Path(folder) / "fusion.onnx"
        warnings.simplefilter("ignore")
        with as_unknown_fusion(kind, "cannot be exported to ONNX, which the service runs"):
            torch.onnx.export(
                fusion,
                example_inputs(2, 3, width),
                str(graph),
                dynamo=False,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "users", 1: "events"} for name in (*INPUTS, *OUTPUTS)},
            )
        return graph.read_bytes()


@contextmanager
def as_unknown_fusion(kind: str, problem: str) -> Iterator[None]:
    """Converts any exception of the user's code into UnknownFusion, with the original as its cause."""
    try:
        yield
    except Exception as error:
        raise UnknownFusion(
            f"the fusion {kind} {problem} ({type(error).__name__}: {error}): correct it, or DUOTEMPO_FUSION__KIND"
        ) from error
