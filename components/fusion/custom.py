"""A custom fusion, named `module:Class`: imported, made, and tried as training and service will run it.

So whatever is wrong with it is told before the training, not after.
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
    """The fusion `module:Class`, from the working directory or the installed packages. Raises UnknownFusion."""
    own = find_class(kind)
    with told(kind, f"cannot be made with width {width}"):
        fusion = own(width)
    training = fusion.training
    for people in (example(2, 3, width), stranger(width)):
        check_parts(kind, fusion.eval(), people)
    check_graph(kind, fusion, width)
    return fusion.train(training)


def find_class(kind: str) -> type[Fusion]:
    """The class that `module:Class` names, which is a Fusion."""
    module, _, name = kind.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a command that pip installed looks beside itself alone
        sys.path.append(here)
    importlib.invalidate_caches()
    with told(kind, f"cannot be imported; its module is looked for in {here} and in the installed packages"):
        found = vars(importlib.import_module(module))
    fusions = {
        key: value
        for key, value in found.items()
        if isinstance(value, type) and issubclass(value, Fusion) and value is not Fusion
    }
    if name not in fusions:
        problem = "which is no subclass of components.fusion.fusions.Fusion" if name in found else "which is not there"
        raise UnknownFusion(
            f"DUOTEMPO_FUSION__KIND {kind!r} names {name!r} of {found.get('__file__') or module}, {problem}; "
            f"its fusions: {', '.join(fusions) or 'none'}"
        )
    return fusions[name]


def example(people: int, events: int, width: int) -> Inputs:
    """Made-up inputs of a fusion, always the same; the generator of the training is left alone."""
    draw = torch.Generator().manual_seed(people)
    long, short = (torch.randn(people, events, width, generator=draw) for _ in range(2))
    return long, short, 5 * torch.rand(people, events, CONTEXT, generator=draw)


def stranger(width: int) -> Inputs:
    """The inputs for someone without a history."""
    return torch.zeros(1, 1, width), torch.zeros(1, 1, width), torch.zeros(1, 1, CONTEXT)


@torch.no_grad()
def check_parts(kind: str, fusion: Fusion, people: Inputs) -> None:
    """Raises UnknownFusion unless it gives two finite parts of the shape of the interests."""
    with told(kind, f"fails on interests of shape {tuple(people[0].shape)}"):
        parts = fusion(*people)
        shapes = [tuple(part.shape) for part in parts]
        finite = all(torch.isfinite(part).all() for part in parts)
    if shapes != [tuple(people[0].shape)] * 2:
        raise UnknownFusion(
            f"the fusion {kind} gives parts of the shapes {shapes}: forward returns a long and a short part, each "
            f"of the shape {tuple(people[0].shape)} of the interests"
        )
    if not finite:
        raise UnknownFusion(
            f"the fusion {kind} gives parts that are not finite, where both interests are "
            f"{'zero' if not people[0].any() else 'usual'}: guard its divisions, roots and logarithms"
        )


@torch.no_grad()
def check_graph(kind: str, fusion: Fusion, width: int) -> None:
    """Raises UnknownFusion unless its ONNX graph, which the service runs, gives what torch gives."""
    session = onnxruntime.InferenceSession(export(kind, fusion, width))
    read = {entry.name for entry in session.get_inputs()}
    for people in (example(5, 4, width), stranger(width)):
        feed = {name: value.numpy() for name, value in zip(INPUTS, people, strict=True) if name in read}
        with told(kind, "fails as an ONNX graph, which the service runs"):
            served = session.run(list(OUTPUTS), feed)
        for ours, theirs in zip(fusion(*people), served, strict=True):
            if not np.allclose(ours.numpy(), theirs, atol=1e-4):
                raise UnknownFusion(
                    f"the fusion {kind} gives other parts as an ONNX graph, which the service runs: let no branch, "
                    "loop or constant of forward depend on the values or on their number, and draw nothing at random"
                )


def export(kind: str, fusion: Fusion, width: int) -> bytes:
    """The ONNX graph of the fusion alone; the numbers of people and of their events are dynamic."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        graph = Path(folder) / "fusion.onnx"
        warnings.simplefilter("ignore")
        with told(kind, "cannot be exported to ONNX, which the service runs"):
            torch.onnx.export(
                fusion,
                example(2, 3, width),
                str(graph),
                dynamo=False,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "people", 1: "events"} for name in (*INPUTS, *OUTPUTS)},
            )
        return graph.read_bytes()


@contextmanager
def told(kind: str, problem: str) -> Iterator[None]:
    """Turns whatever the code of somebody else raises into UnknownFusion; the cause stays behind it."""
    try:
        yield
    except Exception as error:
        raise UnknownFusion(
            f"the fusion {kind} {problem} ({type(error).__name__}: {error}): correct it, or DUOTEMPO_FUSION__KIND"
        ) from error
