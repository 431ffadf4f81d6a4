"""Where in a face a detector sees the fake: heat maps by Grad-CAM, and by occlusion as a check on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from deepfake.data.crops import centre_of, to_tensor, window_crops
from deepfake.errors import UserError
from deepfake.faces.video_faces import VideoFaces, decode_jpeg, encode_jpeg
from deepfake.models.detector import Detector
from deepfake.scoring.prediction import FaceShot, Prediction, WindowPrediction

HeatMaps = Callable[[Detector, Tensor], Tensor]
"""Windows (B, T, 3, S, S) uint8 -> heat (B, T, S, S) float32, see grad_cam."""
PATCH_SHARE = 0.2  # of the crop's side: an eye, a mouth
FRAMES_AT_ONCE = 32
JPEG_QUALITY = 90
MAX_OPACITY = 0.8  # of the colour where heat is 1: the face must stay visible


def grad_cam(detector: Detector, crops: Tensor) -> Tensor:
    """What speaks for fake in each frame: windows (B, T, 3, S, S) uint8 -> (B, T, S, S) float32 in [0, 1].

    Grad-CAM (Selvaraju et al., ICCV 2017) of the window's logit over the maps of backbone.map_layer, of each
    of its frames, with its ReLU: what speaks for real is 0. 1 is the hottest place of the window, in
    whichever of its frames that lies, so heat compares places and frames of one window, never two windows;
    all is 0 where nothing speaks for fake. A window's heat does not depend on its batch. The detector must be
    in evaluation mode, and stays as it is. Raises UserError for a backbone without map_layer.
    """
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]

    evaluating(detector)
    batch, window = crops.shape[:2]
    # whatever a caller has switched off, gradients are needed here
    with torch.inference_mode(False), torch.enable_grad():
        frames = crops.to(detector.mean.device).flatten(0, 1).float().requires_grad_()
        cam = LayerGradCam(lambda some: window_logits(detector, some, window), map_layer(detector))
        maps = cam.attribute(frames, relu_attributions=True).detach()
    heat = interpolate(maps, crops.shape[-2:], mode="bilinear", align_corners=False)
    return hottest_is_one(heat.view(batch, window, *crops.shape[-2:]))


def occlusion(detector: Detector, crops: Tensor, *, patch_px: int | None = None) -> Tensor:
    """The same by covering: how far the logit falls when a place is blurred away in all frames of the window.

    A square of patch_px (default a fifth of the side) goes over the crop in steps of half of that; a place's
    heat is the mean over the squares that covered it. It asks nothing of the network's inside and takes a
    hundred times as long as grad_cam. Heat is the same in all frames of a window.
    """
    from captum.attr import Occlusion

    evaluating(detector)
    window, size = crops.shape[1], crops.shape[-1]
    patch = patch_px or max(2, round(PATCH_SHARE * size))
    shape, steps = (window, 3, patch, patch), (window, 3, max(1, patch // 2), max(1, patch // 2))
    heat = []
    with torch.inference_mode():
        for one in crops.to(detector.mean.device).float().split(1):
            fall = Occlusion(detector).attribute(
                one,
                sliding_window_shapes=shape,
                strides=steps,
                baselines=blurred(one, patch),
                perturbations_per_eval=max(1, FRAMES_AT_ONCE // window),
            )
            heat.append(fall[:, :, 0].float().relu())
    return hottest_is_one(torch.cat(heat))


def with_heat(
    prediction: Prediction, detector: Detector, faces: VideoFaces, *, heat_maps: HeatMaps = grad_cam
) -> Prediction:
    """The prediction with heat maps of its suspicious faces; faces: those that it was made of."""
    shots = tuple(heated(shot, prediction, detector, faces, heat_maps) for shot in prediction.suspicious)
    return replace(prediction, suspicious=shots)


def heated(
    shot: FaceShot, prediction: Prediction, detector: Detector, faces: VideoFaces, heat_maps: HeatMaps
) -> FaceShot:
    """A face with the heat map of its frame; what the detector does not see of the stored crop stays cold."""
    rows = window_rows(shot_window(shot, prediction), shot.track, detector, faces)
    crops = to_tensor(window_crops(faces, rows, detector.input))
    heat = heat_maps(detector, crops[None])[0].cpu().numpy()
    frames = faces.column("frame")[rows].tolist()
    picture = decode_jpeg(shot.jpeg)
    start, side = centre_of(len(picture), detector.input, faces.settings.margin)
    shown = draw_heat_map(picture, heat[frames.index(shot.frame)], start_px=start, side_px=side)
    return replace(shot, heat=encode_jpeg(shown, JPEG_QUALITY))


def shot_window(shot: FaceShot, prediction: Prediction) -> WindowPrediction:
    """The window that a face stands for: of those with its frame the one with its prob."""
    own = next(track.windows for track in prediction.tracks if track.track == shot.track)
    showing = [window for window in own if window.start_frame <= shot.frame <= window.end_frame]
    return min(showing, key=lambda window: abs(window.prob - shot.prob))


def window_rows(window: WindowPrediction, track: int, detector: Detector, faces: VideoFaces) -> np.ndarray:
    """Rows of a window's frames, (T,), as track_windows laid them out: a short run repeats its last frame."""
    rows, spec = faces.track_rows[track], detector.input
    frame = faces.column("frame")[rows]
    run = rows[(frame >= window.start_frame) & (frame <= window.end_frame)]
    return run[np.minimum(np.arange(spec.window) * spec.stride, len(run) - 1)]


def window_logits(detector: Detector, frames: Tensor, window: int) -> Tensor:
    """Frames (B * window, 3, S, S) -> logits (B,), through which gradients flow."""
    features = detector.features(frames)
    # cuDNN's LSTM has no backward pass in evaluation mode
    with torch.backends.cudnn.flags(enabled=False):
        return detector.logits(features.view(-1, window, features.shape[1]))


def map_layer(detector: Detector) -> nn.Module:
    """The backbone's map_layer."""
    layer = getattr(detector.backbone, "map_layer", None)
    if not isinstance(layer, nn.Module):
        raise UserError(
            f"explain=true: {type(detector.backbone).__name__} names no map_layer to make heat maps of; "
            "add the property, or use explain=occlusion"
        )
    return layer


def evaluating(detector: Detector) -> None:
    """Check that dropout and batch statistics are out of play."""
    if detector.training:
        raise ValueError("heat maps are of a detector in evaluation mode: call detector.eval()")


def hottest_is_one(heat: Tensor) -> Tensor:
    """Heat (B, T, S, S) >= 0, each window divided by its maximum where that is above 0."""
    top = heat.amax(dim=(1, 2, 3), keepdim=True)
    return heat / torch.where(top > 0, top, 1)


def blurred(crops: Tensor, reach_px: int) -> Tensor:
    """Crops (B, T, 3, S, S) with every pixel the mean of those at most reach_px away."""
    size = 2 * reach_px + 1
    return avg_pool2d(crops.flatten(0, 1), size, stride=1, padding=reach_px, count_include_pad=False).view(
        crops.shape
    )


def check_explanation(explain: bool | str) -> None:
    """Raise UserError unless these are known heat maps, for which captum is there, or none."""
    if explain and explain not in EXPLANATIONS:
        known = ", ".join(str(name).lower() for name in EXPLANATIONS)
        raise UserError(f"explain={explain}: must be false or one of {known}")
    if explain and find_spec("captum") is None:
        raise UserError("explain=true: heat maps are made by captum: uv sync --extra explain")


EXPLANATIONS: Mapping[bool | str, HeatMaps] = {True: grad_cam, "occlusion": occlusion}
"""By the value of explain= in conf/predict.yaml."""


def draw_heat_map(
    rgb: np.ndarray, heat: np.ndarray, *, start_px: int = 0, side_px: int | None = None
) -> np.ndarray:
    """A face (H, W, 3) uint8 in grey with heat (h, w) in [0, 1] as colour over it, (H, W, 3) uint8.

    The colours are those of inferno, whose lightness rises evenly; they become more opaque with the heat, and
    the grey face is visible where heat is 0. start_px, side_px: first row and column, and side, of the square
    that the heat map covers. The square is framed if it does not cover the whole face.
    """
    height, width = rgb.shape[:2]
    side = side_px or min(height, width)
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    part = np.s_[start_px : start_px + side, start_px : start_px + side]
    warm = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colour = cv2.applyColorMap((255 * warm).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = MAX_OPACITY * np.sqrt(warm)[..., None]
    shown = grey.copy()
    shown[part] = (grey[part] * (1 - share) + colour * share + 0.5).astype(np.uint8)
    if side < min(height, width):
        cv2.rectangle(
            shown, (start_px, start_px), (start_px + side - 1, start_px + side - 1), (255, 255, 255), 1
        )
    return shown
