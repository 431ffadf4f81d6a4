import sys
from pathlib import Path

import av
import numpy as np
import pytest

from deepfake.doctor import codecs
from deepfake.doctor.codecs import CODECS, OK, TRIALS, by_pyav, encode, film_of, pictures, read, try_codecs

BREAKS = """
import json, os, sys
for step in json.loads(sys.argv[2]):
    if step == ["HEVC", "decord"]:
        os._exit(3)
    print(json.dumps("ok"), flush=True)
"""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return try_codecs(tmp_path_factory.mktemp("films"))


def test_what_pyav_can_encode_it_and_this_project_can_read(tried: dict[str, dict[str, str]]) -> None:
    assert list(tried) == list(CODECS)
    for name, answers in tried.items():
        there = any(encoder in av.codecs_available for encoder in CODECS[name].encoders)
        assert (answers["encode"] == OK) == there
        if there:
            assert (answers["PyAV"], answers["deepfake"]) == (OK, OK), name
    assert tried["H.264"] == dict.fromkeys(TRIALS, OK)


def test_decord_has_no_av1_and_says_so_in_a_line(tried: dict[str, dict[str, str]]) -> None:
    answer = tried["AV1"]["decord"]
    assert answer != OK
    assert "\n" not in answer
    assert not answer.startswith("[")  # time and place in decord's source


def test_a_decoder_that_crashes_is_named_and_all_others_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "PROCESS", (sys.executable, "-c", BREAKS))
    tried = try_codecs(tmp_path)
    assert tried["HEVC"].pop("decord") == "the process ended with status 3"
    assert {answer for answers in tried.values() for answer in answers.values()} == {OK}


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "PROCESS", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(codecs, "TIMEOUT_S", 0.2)
    (answer,) = codecs.in_own_process(tmp_path, [("H.264", "PyAV"), ("H.264", "decord")]).values()
    assert answer == "no answer within 0.2 s"


def test_frames_that_come_back_wrong_or_short_are_no_success(tmp_path: Path) -> None:
    codec = CODECS["MPEG-4"]
    encode(tmp_path, codec)
    read(by_pyav, tmp_path, codec)
    with pytest.raises(ValueError, match="7 frames instead of 8"):
        read(lambda film: by_pyav(film)[1:], tmp_path, codec)
    with pytest.raises(ValueError, match=r"frame \d is \d+ of 255 off"):
        read(lambda film: [np.roll(frame, 40, axis=1) for frame in by_pyav(film)], tmp_path, codec)
    film_of(tmp_path, codec).unlink()
    with pytest.raises(ValueError, match="not tried"):
        read(by_pyav, tmp_path, codec)
    assert len(pictures()) == 8
