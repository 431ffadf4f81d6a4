"""A detector as a file of torch.export, for programs that run one without this package."""

from __future__ import annotations

import io
import warnings

import torch
from torch.export import Dim, export, save
from torch.export._patches import register_lstm_while_loop_decomposition
from torch.fx import GraphModule

from deepfake.models.detector import Detector

NOTES = "deepfake.json"


def to_pt2(detector: Detector, notes: str) -> bytes:
    """A detector on the CPU as the content of a .pt2 file: crops (B, T, 3, H, W) uint8 -> logit (B,).

    notes: of make_notes, as JSON, which torch.export.load(FILE, extra_files={NOTES: ""}) gives back.
    """
    crops = torch.zeros(3, 5, 3, detector.input.size, detector.input.size, dtype=torch.uint8)
    content = io.BytesIO()
    # torch would unroll an LSTM over the example's frames, and so fix the window
    with warnings.catch_warnings(), torch.no_grad(), register_lstm_while_loop_decomposition():
        warnings.simplefilter("ignore")
        program = export(detector, (crops,), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},))
        for graph in (part.graph for part in program.graph_module.modules() if isinstance(part, GraphModule)):
            for node in graph.nodes:
                node.meta.pop("stack_trace", None)  # where in whose files the operation was called
        save(program, content, extra_files={NOTES: notes})
    return content.getvalue()
