from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import SCHEMA, VideoFaces
from deepfake.prediction.detector import LoadedDetector
from deepfake.prediction.predictor import ENOUGH_FRAMES, interval, predict_faces, score_faces, spans
from deepfake.records import VideoInfo
from deepfake.scoring.aggregate import WindowScores
from deepfake.scoring.bootstrap import window_interval
from deepfake.scoring.decision import Decision

INFO = VideoInfo(
    num_frames=500,
    fps=25.0,
    width=320,
    height=240,
    rotation_deg=90,
    codec="h264",
    container="mov",
    duration_s=20.0,
)


def faces_on(frames: Sequence[int], sampled: Sequence[int]) -> VideoFaces:
    """One face on some of the sampled frames, which all differ a little."""
    import pyarrow as pa

    from deepfake.faces.video_faces import encode_jpeg

    rng = np.random.default_rng(0)
    rows = [
        {
            "track": 0,
            "clip": 0,
            "step": list(sampled).index(frame),
            "frame": frame,
            "time_s": frame / 25,
            "box": [10, 10, 60, 60],
            "landmarks": [0.0] * 10,
            "score": 1.0,
            "detected": True,
            "square": [0, 0, 80],
            "jpeg": encode_jpeg(rng.integers(0, 255, (80, 80, 3), np.uint8), 95),
        }
        for frame in frames
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return VideoFaces(table, INFO, FaceSettings(max_gap_frames=2), tuple(sampled))


def people_on(*frames: Sequence[int]) -> VideoFaces:
    """A face for each of these, on the frames that it names."""
    import pyarrow as pa

    sampled = range(max(map(max, frames)) + 1)
    tables = [faces_on(own, sampled).table for own in frames]
    numbered = [
        table.set_column(0, SCHEMA.field("track"), pa.array([track] * len(table), pa.int32()))
        for track, table in enumerate(tables)
    ]
    return VideoFaces(pa.concat_tables(numbered), INFO, FaceSettings(), tuple(sampled))


def test_a_person_seen_briefly_is_scored_or_counted(detector: LoadedDetector) -> None:
    faces = people_on(range(100), range(ENOUGH_FRAMES), range(ENOUGH_FRAMES - 1), range(3))
    found = predict_faces(detector.detector, detector.checkpoint, "clip.mp4", faces)
    assert [track.track for track in found.tracks] == [0, 1]
    assert found.reason == "not scored, since seen on fewer than 16 sampled frames: 2 people"
    assert found.verdict in ("fake", "real")
    alone = predict_faces(detector.detector, detector.checkpoint, "clip.mp4", people_on(range(3), range(2)))
    assert ([track.frames for track in alone.tracks], alone.reason) == ([3, 2], "")


def test_windows_scored_in_blocks_have_the_same_probs(
    detector: LoadedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = faces_on(range(40), range(40))
    whole = score_faces(detector.detector, detector.checkpoint, faces)
    monkeypatch.setattr("deepfake.prediction.predictor.WINDOWS_AT_ONCE", 7)
    blocks = score_faces(detector.detector, detector.checkpoint, faces)
    assert blocks.logit == pytest.approx(whole.logit, abs=1e-5)
    assert blocks.frame.tolist() == whole.frame.tolist()


def test_spans_part_where_sampled_frames_lack_the_face() -> None:
    sampled = list(range(100, 140, 2))
    missing = [*range(106, 110, 2), *range(120, 126, 2)]  # two frames, which tracking bridges; three
    faces = faces_on([frame for frame in sampled if frame not in missing], sampled)
    assert spans(faces, faces.track_rows[0]) == ((4.0, 118 / 25), (126 / 25, 138 / 25))
    assert spans(faces, faces.track_rows[0][:1]) == ((4.0, 4.0),)


def test_windows_that_share_frames_are_drawn_together() -> None:
    logit, start = np.random.default_rng(0).normal(size=20), np.arange(20)
    apart = WindowScores(0 * start, 0 * start, start, logit, start[:, None])
    shared = replace(apart, frame=start[:, None] + np.arange(4))
    own = np.ones(20, bool)
    assert interval(apart, own, Decision()) == window_interval(logit, "mean")
    assert interval(shared, own, Decision()) == window_interval(logit, "mean", overlap=4)
    assert interval(shared, start < 4, Decision()) == (None, None)
    found = interval(apart, own, Decision(calibrate=True, temperature=2))
    assert found == pytest.approx(Decision(temperature=2).calibrated(window_interval(logit, "mean")))


def test_a_prediction_tells_the_file_s_facts_and_where_the_track_s_prob_may_lie(
    detector: LoadedDetector,
) -> None:
    faces = faces_on(range(8), range(8))
    found = predict_faces(detector.detector, detector.checkpoint, "clip.mp4", faces, {"sha256": "0" * 64})
    assert found.about == {
        "sha256": "0" * 64,
        "width": 320,
        "height": 240,
        "frames": 500,
        "fps": 25.0,
        "duration_s": 20.0,
        "rotation_deg": 90,
        "codec": "h264",
        "container": "mov",
    }
    (track,) = found.tracks
    logits = np.array([window.logit for window in track.windows])
    assert [window.prob for window in track.windows] == pytest.approx(1 / (1 + np.exp(-logits)))
    assert (track.low, track.high) == window_interval(logits, "mean")
    assert track.low is not None
    assert track.high is not None
    assert track.low < track.prob < track.high
    assert track.spans == ((0.0, 7 / 25),)
