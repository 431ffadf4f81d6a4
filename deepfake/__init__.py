"""Train, compare and run video deepfake detectors.

from deepfake import load_detector, predict_video
detector = load_detector("best.ckpt")
predict_video("clip.mp4", detector).verdict
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfake.prediction.detector import LoadedDetector, load_detector
    from deepfake.prediction.predictor import predict_video
    from deepfake.scoring.prediction import Prediction

__version__ = "0.1.0"
__all__ = ["LoadedDetector", "Prediction", "load_detector", "predict_video"]

PLACES = {
    "LoadedDetector": "deepfake.prediction.detector",
    "Prediction": "deepfake.scoring.prediction",
    "load_detector": "deepfake.prediction.detector",
    "predict_video": "deepfake.prediction.predictor",
}


def __getattr__(name: str) -> Any:
    """The library's names, imported when they are asked for: torch takes seconds."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
