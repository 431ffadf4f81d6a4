from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.windows import warm_up
from deepfake.data.windows import TrackFrames, eval_windows
from deepfake.models.detector import Detector, score_windows
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LinearHead, LSTMHead
from deepfake.models.mesonet import Meso4, MesoInception4
from deepfake.records import InputSpec

FIRST_ROW = 7
STEPS = np.array([*range(9), *range(11, 20), 22, 23])  # runs of 9, 9 and 2 frames
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "meso": partial(Meso4, image_size=32),
    "meso_inception": partial(MesoInception4, image_size=32),
    "efficientnet": partial(EfficientNet, name="efficientnet_b0"),
}
HEADS = {"linear": LinearHead, "lstm": partial(LSTMHead, hidden_size=8, num_layers=2)}


def track_with_gaps() -> TrackFrames:
    rows = np.arange(FIRST_ROW, FIRST_ROW + len(STEPS))
    return TrackFrames(video=0, track=0, rows=rows, clip=rows * 0, step=STEPS, frame=STEPS)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (len(STEPS), 3, 32, 32), dtype=torch.uint8, generator=random)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "backbone",
    [pytest.param(name, marks=pytest.mark.slow if "efficient" in name else ()) for name in BACKBONES],
)
def test_windows_that_share_frames_score_as_each_does_alone(
    crops: Tensor, backbone: str, head: str, stride: int
) -> None:
    torch.manual_seed(0)
    spec = InputSpec(size=32, margin=1.3, mean=(0.5,) * 3, std=(0.2,) * 3, window=4, stride=stride)
    detector = Detector(BACKBONES[backbone](), HEADS[head], spec).eval()
    warm_up(detector, crops)
    rows = np.array(
        [window.rows for window in eval_windows(track_with_gaps(), spec, max_windows=None, hop=1)]
    )
    assert len(rows) == {1: 12, 2: 6}[stride]  # none bridges a gap
    with torch.inference_mode():
        alone = torch.cat([detector(crops[torch.from_numpy(own - FIRST_ROW)][None]) for own in rows])
    assert alone.std() > 1e-3  # or all would be alike
    read: list[int] = []

    def reading(numbers: np.ndarray) -> Tensor:
        read.extend(numbers.tolist())
        return crops[torch.from_numpy(numbers - FIRST_ROW)]

    for frames_at_once, windows_at_once in ((64, 1024), (5, 3), (1, 1)):
        read.clear()
        together = score_windows(
            detector, rows, reading, frames_at_once=frames_at_once, windows_at_once=windows_at_once
        )
        assert (together - alone).abs().max() <= 1e-5
        assert read == np.unique(rows).tolist()
