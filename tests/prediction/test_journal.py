import json
import os
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepfake.prediction.detector import sha256
from deepfake.prediction.inputs import InputFile
from deepfake.prediction.journal import Journal
from deepfake.prediction.predictor import ScoredFile, Stamp
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction, WindowPrediction


@pytest.fixture
def file(tmp_path: Path) -> InputFile:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"some frames")
    return InputFile(path)


def judged(found: InputFile, *, prob: float | None = 0.5, reason: str = "") -> ScoredFile:
    """What a run says of a file as it is now."""
    now = found.path.stat()
    stamp = Stamp(now.st_size, now.st_mtime_ns, sha256(found.path))
    status = "error" if reason else "ok"
    said = Prediction(
        file=found.name, status=status, prob=prob, verdict="fake", reason=reason, about=stamp.facts()
    )
    return ScoredFile(found, said, stamp=stamp)


def probs(journal: Journal, *files: InputFile) -> list[float | None]:
    return [prediction.prob for prediction in journal.predictions(files)]


def test_what_was_written_is_there_when_the_run_goes_on_and_gone_when_it_starts_anew(
    file: InputFile, tmp_path: Path
) -> None:
    place = tmp_path / "records.jsonl"
    done = judged(file)
    Journal(place, "job", resume=False).add(done)
    again = Journal(place, "job", resume=True)
    assert again.holds(file)
    assert list(again.predictions([file])) == [done.prediction]
    assert not Journal(place, "another threshold", resume=True).holds(file)
    assert not Journal(place, "job", resume=False).holds(file)
    assert not place.exists()


def test_a_line_that_a_killed_run_left_unfinished_costs_its_file_only(
    file: InputFile, tmp_path: Path
) -> None:
    place, other = tmp_path / "records.jsonl", InputFile(tmp_path / "other.mp4")
    other.path.write_bytes(b"other frames")
    first = Journal(place, "job", resume=False)
    first.add(judged(file))
    whole = place.read_bytes()
    first.add(judged(other))
    for length in (len(whole) + 1, place.stat().st_size - 1):
        os.truncate(place, length)
        again = Journal(place, "job", resume=True)
        assert (again.holds(file), again.holds(other)) == (True, False)
        assert place.read_bytes() == whole
        again.add(judged(other, prob=0.25))
        assert probs(Journal(place, "job", resume=True), other, file) == [0.25, 0.5]


def test_lines_that_are_not_ours_are_passed_over(file: InputFile, tmp_path: Path) -> None:
    place = tmp_path / "records.jsonl"
    Journal(place, "job", resume=False).add(judged(file))
    place.write_bytes(b'no json\n[]\n{"job": "job"}\n' + place.read_bytes())
    assert probs(Journal(place, "job", resume=True), file) == [0.5]


def without(record: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        record = record[key]
    del record[keys[-1]]


def put(record: Any, value: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        record = record[key]
    record[keys[-1]] = value


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: without(record, "prediction", "tracks"),
        lambda record: without(record, "prediction", "prob"),
        lambda record: without(record, "portrait"),
        lambda record: without(record, "bytes"),
        lambda record: without(record, "prediction", "tracks", 0, "box"),
        lambda record: without(record, "prediction", "tracks", 0, "windows", 0, "prob"),
        lambda record: without(record, "portrait", "jpeg"),
        lambda record: put(record, "bm8ganBlZw==", "portrait", "jpeg"),
        lambda record: put(record, "ü", "portrait", "jpeg"),
        lambda record: put(record, 7, "portrait", "jpeg"),
        lambda record: put(record, "a", "prediction", "prob"),
        lambda record: put(record, 10**400, "prediction", "prob"),
        lambda record: put(record, float("nan"), "prediction", "prob"),
        lambda record: put(record, float("inf"), "prediction", "tracks", 0, "end_s"),
        lambda record: put(record, 10**400, "prediction", "about", "duration_s"),
        lambda record: put(record, "long", "prediction", "about", "duration_s"),
        lambda record: put(record, [[]], "prediction", "about", "codec"),
        lambda record: put(record, [], "prediction", "about"),
        lambda record: put(record, "perhaps", "prediction", "verdict"),
        lambda record: put(record, 1, "prediction", "colour"),
        lambda record: put(record, [1, 2], "prediction", "tracks", 0, "box"),
        lambda record: put(record, ["path"], "path"),
        lambda record: put(record, 10**400, "bytes"),
    ],
)
def test_a_line_with_a_foreign_value_is_passed_over(
    file: InputFile, tmp_path: Path, face: np.ndarray, spoil: Callable[[Any], object]
) -> None:
    place = tmp_path / "records.jsonl"
    window = WindowPrediction(start_frame=0, end_frame=1, start_s=0.0, end_s=1.0, prob=0.5)
    track = TrackPrediction(
        track=0, prob=0.5, frames=2, start_s=0.0, end_s=1.0, box=(0, 0, 9, 9), windows=(window,)
    )
    picture = BytesIO()
    Image.fromarray(face).save(picture, "JPEG")
    shot = FaceShot(track=0, frame=0, time_s=0.0, prob=0.5, jpeg=picture.getvalue())
    done = judged(file)
    whole = replace(done.prediction, tracks=(track,), suspicious=(shot,))
    Journal(place, "job", resume=False).add(replace(done, prediction=whole))
    line = place.read_bytes()
    assert Journal(place, "job", resume=True).holds(file)
    record = json.loads(line)
    spoil(record)
    place.write_text(json.dumps(record) + "\n")
    again = Journal(place, "job", resume=True)
    assert not again.holds(file)
    assert list(again.predictions([file])) == []


@pytest.mark.parametrize("text", ["[" * 100_000, '{"job": ' * 100_000, "1" * 5000, '{"job": "job"', "\xff"])
def test_lines_that_no_reader_can_read_are_passed_over(file: InputFile, tmp_path: Path, text: str) -> None:
    place = tmp_path / "records.jsonl"
    Journal(place, "job", resume=False).add(judged(file))
    place.write_bytes(text.encode("latin-1") + b"\n" + place.read_bytes())
    assert probs(Journal(place, "job", resume=True), file) == [0.5]


def test_a_file_that_changed_is_done_anew_and_one_that_was_only_touched_is_not(
    file: InputFile, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "records.jsonl", "job", resume=False)
    journal.add(judged(file))
    os.utime(file.path, ns=(1, 1))
    assert journal.holds(file)
    file.path.write_bytes(b"SOME FRAMES")  # of the same size
    os.utime(file.path, ns=(2, 2))
    assert not journal.holds(file)
    file.path.write_bytes(b"more frames than before")
    assert not journal.holds(file)
    file.path.unlink()
    assert not journal.holds(file)


def test_a_file_that_could_not_be_read_is_tried_again_and_the_last_line_counts(
    file: InputFile, tmp_path: Path
) -> None:
    place = tmp_path / "records.jsonl"
    journal = Journal(place, "job", resume=False)
    journal.add(judged(file, prob=None, reason="DecodeError: broken"))
    assert not journal.holds(file)
    assert probs(journal, file) == [None]  # until it is done again, that stays
    journal.add(judged(file, prob=0.75))
    assert Journal(place, "job", resume=True).holds(file)
    assert probs(Journal(place, "job", resume=True), file) == [0.75]
    journal.forget(file)
    assert probs(journal, file) == []


def test_one_small_picture_is_kept_of_those_that_were_cut_out(tmp_path: Path, file: InputFile) -> None:
    import numpy as np

    from deepfake.faces.video_faces import decode_jpeg, encode_jpeg
    from deepfake.scoring.prediction import FaceShot

    large = encode_jpeg(np.full((400, 400, 3), 99, np.uint8), 95)
    shot = FaceShot(track=1, frame=7, time_s=0.28, prob=0.9, jpeg=large)
    done = judged(file)
    done = replace(
        done, prediction=replace(done.prediction, suspicious=(shot, shot), least_suspicious=(shot,))
    )
    journal = Journal(tmp_path / "records.jsonl", "job", resume=False)
    journal.add(done)
    (kept,) = journal.predictions([file])
    assert kept.least_suspicious == ()
    (small,) = kept.suspicious
    assert replace(small, jpeg=large) == shot
    assert decode_jpeg(kept.portrait).shape == (160, 160, 3)
    assert json.loads(journal.path.read_text())["path"] == str(file.path)
