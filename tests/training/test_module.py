from functools import partial

from deepfake.faces.settings import FaceSettings
from deepfake.models.detector import Detector
from deepfake.models.heads import LinearHead
from deepfake.models.mesonet import Meso4
from deepfake.records import InputSpec
from deepfake.training.checkpoint import KEY, Recipe
from deepfake.training.module import DetectorModule


def test_the_threshold_is_that_of_the_checkpoint_whose_weights_are_loaded() -> None:
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1))
    detector = Detector(backbone=Meso4(image_size=32), head=partial(LinearHead), input=spec)
    recipe = Recipe(
        net={}, faces=FaceSettings().to_dict(), eval_windows=4, min_track_share=0.25, threshold=0.9
    )
    module = DetectorModule(detector, recipe)
    module.on_load_checkpoint({KEY: {"threshold": 0.3}})
    assert module.recipe.threshold == 0.3
