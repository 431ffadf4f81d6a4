from functools import partial
from pathlib import Path

from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.prediction.export import make_card, write_card
from deepfake.records import InputSpec
from deepfake.training.checkpoint import Checkpoint


def test_a_card_is_replaced_in_one_step_and_never_written_in_place(tmp_path: Path) -> None:
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    detector = Detector(Meso4(image_size=32), partial(LinearHead), spec)
    card = {
        **make_card(detector, Checkpoint(net={}, faces=FaceSettings()), source=Path("x.ckpt")),
        "file": {"name": "x.onnx", "format": "onnx", "bytes": 1, "sha256": "0"},
        "fingerprints": {"network": "00"},
        "check": {"largest_difference": 0.0, "largest_logit": 1.0, "tolerance": 1e-4, "shapes": ["1×1"]},
        "speed": None,
        "versions": {"torch": "2"},
        "made": "2026-01-01T00:00:00+00:00",
    }
    before = {}
    for place in write_card(tmp_path, "x", card):
        place.write_text("the earlier card")
        before[place] = tmp_path / f"link to {place.name}"
        before[place].hardlink_to(place)
    write_card(tmp_path, "x", card)
    for place, earlier in before.items():
        assert earlier.read_text() == "the earlier card"
        assert "x.onnx" in place.read_text()
    assert len(list(tmp_path.iterdir())) == 4
