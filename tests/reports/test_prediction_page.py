import re
import tracemalloc
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.faces.video_faces import decode_jpeg, encode_jpeg
from deepfake.reports.html import image_uri
from deepfake.reports.predictions import (
    PAGES_FOLDER,
    ModelFacts,
    fact_text,
    file_facts,
    page_name,
    ticks,
    timeline,
    write_index_page,
    write_video_page,
)
from deepfake.scoring.prediction import FaceShot, Prediction, TrackPrediction

MakeTrack = Callable[..., TrackPrediction]
MODEL = ModelFacts(
    checkpoint="runs/best.ckpt",
    threshold=0.4,
    threshold_origin="fitted on the validation split in training",
    protocol="demo/official",
    details={"network": "Meso4 and LinearHead"},
)
HEADER: dict[str, Any] = {
    "model": {
        "path": "best.ckpt",
        "sha256": "ab12",
        "fingerprint": "cd34",
        "net": {
            "backbone": {"_target_": "deepfake.models.mesonet.Meso4"},
            "head": {"_target_": "deepfake.models.heads.LSTMHead"},
            "input": {"size": 256, "margin": 1.3, "window": 8},
        },
        "protocol": {"name": "demo/official", "hash": "0123"},
    },
    "preprocessing": {"fingerprint": "ef56"},
    "decision": {
        "threshold": 0.4,
        "threshold_origin": "validation",
        "threshold_rule": "youden",
        "undetermined_margin": 0.1,
        "window_rule": "mean",
        "track_rule": "max",
        "calibrate": False,
        "temperature": 2.0,
    },
    "environment": dict.fromkeys(
        ("python", "commit", "deepfake", "torch", "timm", "facenet-pytorch", "av", "decord"), "1.0"
    ),
}


def jpeg(value: int = 100, side: int = 40) -> bytes:
    return encode_jpeg(np.full((side, side, 3), value, np.uint8), 90)


def shot(track: int, frame: int, prob: float, **more: Any) -> FaceShot:
    return FaceShot(track=track, frame=frame, time_s=frame / 25, prob=prob, jpeg=jpeg(), **more)


@pytest.fixture
def two(make_track: MakeTrack) -> Prediction:
    """A file with two people, the second one fake."""
    return Prediction(
        file="cases/a & <b>.mp4",
        status="ok",
        prob=0.9,
        verdict="fake",
        reason="",
        sampled_frames=20,
        face_frames=18,
        tracks=(
            make_track(0, {(0, 7): 0.1, (50, 57): 0.2}, spans=[(0.0, 0.3), (2.0, 2.3)], low=0.1, high=0.2),
            make_track(1, {(0, 7): 0.85, (50, 57): 0.95}),
        ),
        about={
            "sha256": "00ff",
            "bytes": 24_440,
            "duration_s": 75.0,
            "frames": 1875,
            "width": 64,
            "height": 48,
        },
        suspicious=(shot(1, 50, 0.95, heat=jpeg(200)), shot(1, 0, 0.85)),
        least_suspicious=(shot(0, 0, 0.1), shot(1, 50, 0.95)),
    )


PORTRAITS = {0: jpeg(), 1: jpeg()}


def opened(look: Callable[..., Any], path: Path) -> None:
    for width in (1280, 400):
        seen = look(path, width=width)
        assert (seen.errors, seen.requests, seen.too_wide_px) == ([], [], 0)


def test_a_page_tells_verdict_prob_threshold_people_times_faces_and_facts(
    tmp_path: Path, two: Prediction
) -> None:
    write_video_page(
        tmp_path / "page.html",
        two,
        model=MODEL,
        portraits=PORTRAITS,
        index="../report.html",
        annotated="a b.mp4",
    )
    text = (tmp_path / "page.html").read_text()
    for part in (
        "prob 0.900",
        "threshold 0.400",
        "The threshold is fitted on the validation split in training.",
        "Person 2 is the most suspicious person",
        "95 % interval 0.100 to 0.200",
        "0:00.00–0:00.30, 0:02.00–0:02.30",
        "trained on demo/official.",
        "20 of 1,875 frames",
        "20, 18 of them with a scored face",
        "64 × 48 px",
        "24,440",
        "00ff",
        "runs/best.ckpt",
        "Meso4 and LinearHead",
        'href="../report.html"',
        'href="a%20b.mp4"',
        "Undetermined</b> means that there is no verdict",
    ):
        assert part in text, part
    # the most suspicious person first
    assert text.index("<h3>Person 2") < text.index("<h3>Person 1")
    assert text.count('alt="heat map"') == 1
    assert text.count("<figure>") == 3  # a face of both kinds is shown once


def test_names_are_text_and_never_markup(tmp_path: Path, two: Prediction) -> None:
    nasty = replace(two, file="x/<script>alert(1)<!-- \"'&.mp4", about={"<i>": "<u>"})
    write_video_page(
        tmp_path / "page.html", nasty, model=replace(MODEL, checkpoint="<em>"), portraits=PORTRAITS
    )
    write_index_page(tmp_path / "report.html", lambda: [nasty], model=MODEL)
    for name in ("page.html", "report.html"):
        text = (tmp_path / name).read_text()
        assert "<script" not in text
        assert "&lt;script&gt;alert(1)&lt;!-- &#34;&#39;&amp;.mp4" in text
        assert not {"<i>", "<u>", "<em>"} & set(text.split())


def test_both_pages_open_without_errors_requests_or_sideways_scrolling(
    tmp_path: Path, look: Callable[..., Any], two: Prediction
) -> None:
    long = replace(two, file="cases/" + "verylongname" * 12 + ".mp4", about={**two.about, "sha256": "0" * 64})
    write_video_page(tmp_path / "page.html", long, model=ModelFacts.from_header(HEADER), portraits=PORTRAITS)
    write_index_page(tmp_path / "report.html", lambda: [long, two], model=MODEL)
    opened(look, tmp_path / "page.html")
    opened(look, tmp_path / "report.html")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {
                "prob": None,
                "verdict": "undetermined",
                "reason": "no face found on 8 sampled frames",
                "tracks": (),
                "suspicious": (),
                "least_suspicious": (),
            },
            "No verdict: no face found on 8 sampled frames. Undetermined does not mean real.",
        ),
        (
            {"verdict": "undetermined", "prob": 0.45},
            "less than 0.1 from the threshold",
        ),
        ({"verdict": "real", "prob": 0.2}, "is below the threshold."),
        (
            {
                "status": "error",
                "prob": None,
                "verdict": "undetermined",
                "reason": "not a readable video",
                "tracks": (),
                "suspicious": (),
                "least_suspicious": (),
            },
            "The file could not be read: not a readable video.",
        ),
    ],
)
def test_each_verdict_has_its_reason(
    tmp_path: Path, look: Callable[..., Any], two: Prediction, change: dict[str, Any], said: str
) -> None:
    write_video_page(
        tmp_path / "page.html",
        replace(two, **change),
        model=replace(MODEL, undetermined_margin=0.1),
        portraits=PORTRAITS,
    )
    assert said in " ".join((tmp_path / "page.html").read_text().split())
    opened(look, tmp_path / "page.html")


def test_a_person_has_the_portrait_given(tmp_path: Path, two: Prediction) -> None:
    write_video_page(tmp_path / "page.html", two, model=MODEL, portraits={0: jpeg(30), 1: jpeg(220)})
    parts = (tmp_path / "page.html").read_text().split('<section class="person">')[1:]
    uris = [part.split('src="')[1].split('"')[0] for part in parts]
    assert [int(decode_jpeg(b64decode(uri.partition(",")[2])).mean()) for uri in uris] == [220, 30]


def test_large_pictures_are_reduced_and_small_ones_kept() -> None:
    kept, reduced = (image_uri(jpeg(side=side), max_px=320) for side in (40, 512))
    assert b64decode(kept.partition(",")[2]) == jpeg(side=40)
    assert decode_jpeg(b64decode(reduced.partition(",")[2])).shape == (320, 320, 3)
    assert image_uri(b"") == ""


def test_names_of_pages_are_safe_stable_and_never_shared() -> None:
    names = [
        page_name(file) for file in ("a/x.mp4", "b/x.mp4", "b/x.mov", "пример/видео.mp4", "../..", "-" * 300)
    ]
    assert len(set(names)) == len(names)
    assert page_name("a/x.mp4") == page_name("a/x.mp4") == names[0]
    assert names[0].startswith("x-")
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.") and len(name) < 80 for name in names
    )
    assert not any(name.startswith(".") for name in names)


def test_facts_are_told_as_far_as_they_are_known(two: Prediction) -> None:
    facts = file_facts(
        replace(two, about={"fps": 0.0, "duration_s": None, "frames": 1, "new": True, "width": 3})
    )
    assert facts == {
        "file": "cases/a & <b>.mp4",
        "frames": "1",
        "new": "True",
        "width": "3",
        "frames analysed": "20, 18 of them with a scored face",
    }
    assert fact_text("fps", 29.97002997) == "29.97"
    assert fact_text("fps", 25.0) == "25"
    assert fact_text("duration_s", 75.0) == "1:15.00 (75.00 s)"


def test_the_detector_is_described_by_the_header_of_the_json() -> None:
    model = ModelFacts.from_header(HEADER)
    assert model.threshold_origin == "fitted on the validation split in training (rule youden)"
    assert (model.threshold, model.undetermined_margin, model.protocol) == (0.4, 0.1, "demo/official")
    assert model.details["network"] == "Meso4 and LSTMHead"
    assert model.details["input"] == "windows of 8 frames, 256 × 256 px, 1.3 times the size of the face"
    assert "temperature" not in model.details
    weights = HEADER | {"model": HEADER["model"] | {"protocol": None}}
    weights["decision"] = HEADER["decision"] | {
        "threshold_origin": "default",
        "threshold_rule": None,
        "calibrate": True,
    }
    bare = ModelFacts.from_header(weights)
    assert (bare.protocol, bare.threshold_origin) == ("", "the default, because none was fitted")
    assert bare.details["temperature"] == "2"


def test_a_timeline_puts_windows_and_stretches_where_they_are_in_the_video(
    make_track: MakeTrack, tmp_path: Path
) -> None:
    track = make_track(0, {(50, 50): 1.0, (0, 25): 0.25}, spans=[(0.0, 1.0), (2.0, 2.0)])
    assert timeline(track.windows) == [
        (0.5, 0.25, 0.25, 0.25, "0:00.00–0:01.00: 0.250"),
        (2.0, 1.0, 1.0, 1.0, "0:02.00: 1.000"),
    ]
    seen = Prediction(
        file="x.mp4",
        status="ok",
        prob=1.0,
        verdict="fake",
        reason="",
        tracks=(track,),
        about={"duration_s": 4.0},
    )
    write_video_page(tmp_path / "page.html", seen, model=MODEL, portraits={0: b""})
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r'd="M([\d.]+) ([\d.]+)h', text) == [("125.0", "75.0"), ("500.0", "0.0")]
    assert re.findall(r'rect x="([\d.]+)" y="0" width="([\d.]+)"', text) == [
        ("0.0", "250.0"),
        ("500.0", "2.0"),
    ]
    assert re.findall(r'<small style="left: ([\d.]+)%">([\d:]+)<', text) == [
        ("0.0", "0:00"),
        ("25.0", "0:01"),
        ("50.0", "0:02"),
        ("75.0", "0:03"),
    ]


def test_many_windows_are_joined_with_their_lowest_and_highest_prob(make_track: MakeTrack) -> None:
    track = make_track(0, {(frame, frame): frame % 2 for frame in range(1000)})
    points = timeline(track.windows, max_points=100)
    assert len(points) == 100
    assert all((point.low, point.high, point.prob) == (0, 1, 0.5) for point in points)
    assert points[0].title == "0:00.00–0:00.36: 0.500, 10 windows from 0.00 to 1.00"


@pytest.mark.parametrize(
    ("end_s", "texts"),
    [
        (0.04, "0:00.00 0:00.01 0:00.02 0:00.03 0:00.04"),
        (1.9, "0:00.0 0:00.5 0:01.0 0:01.5"),
        (754, "0:00 5:00 10:00"),
        (9000, "0:00 1:00:00 2:00:00"),
    ],
)
def test_ticks_are_round_times_and_few(end_s: float, texts: str) -> None:
    assert " ".join(text for _, text in ticks(end_s)) == texts


def test_the_index_leads_to_every_page_and_counts(tmp_path: Path, two: Prediction) -> None:
    files = [
        two,
        replace(two, file="b.mp4", prob=0.1, verdict="real"),
        replace(
            two,
            file="c.mp4",
            status="error",
            prob=None,
            verdict="undetermined",
            reason="not a readable video",
            suspicious=(),
        ),
    ]
    pages = [tmp_path / PAGES_FOLDER / f"{page_name(file.file)}.html" for file in files[:2]]
    pages[0].parent.mkdir()
    for page in pages:
        page.touch()
    write_index_page(tmp_path / "report.html", lambda: files, model=MODEL)
    text = (tmp_path / "report.html").read_text()
    assert "3 files: 1 fake, 1 real, 1 undetermined" in text
    for page in pages:
        assert text.count(f'href="{PAGES_FOLDER}/{page.name}"') == 1
    assert text.count("<article") == 3
    assert "1 file could not be read." in text
    assert "not a readable video" in text
    assert text.count("data:image/jpeg") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [PAGES_FOLDER, "report.html"]


def test_an_index_of_thousands_holds_one_file_at_a_time(tmp_path: Path, two: Prediction) -> None:
    def files(num: int) -> Iterator[Prediction]:
        for index in range(num):
            yield replace(two, file=f"{index}.mp4", suspicious=(shot(0, index, 0.9),))

    def peak(num: int) -> int:
        tracemalloc.start()
        write_index_page(tmp_path / "report.html", lambda: files(num), model=MODEL)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    few, many = peak(100), peak(2000)
    assert (tmp_path / "report.html").stat().st_size > 2_000_000
    assert many < few + 300_000


def test_an_index_that_fails_half_way_leaves_the_one_before(tmp_path: Path, two: Prediction) -> None:
    def broken() -> Iterator[Prediction]:
        yield two
        raise OSError("disk")

    passes = iter([[two], broken()])
    (tmp_path / "report.html").write_text("before")
    with pytest.raises(OSError, match="disk"):
        write_index_page(tmp_path / "report.html", lambda: next(passes), model=MODEL)
    assert (tmp_path / "report.html").read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_a_filter_without_a_script_shows_one_verdict(tmp_path: Path, browser: Any, two: Prediction) -> None:
    files = [
        replace(two, file=f"{n}.mp4", verdict=verdict) for n, verdict in enumerate(["fake", "real", "real"])
    ]
    write_index_page(tmp_path / "report.html", lambda: files, model=MODEL)
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    shown = lambda: sum(article.is_visible() for article in page.locator("article").all())  # noqa: E731
    counts = [shown()]
    for verdict in ("fake", "real"):
        page.check(f"#only-{verdict}")
        counts.append(shown())
    page.close()
    assert counts == [3, 1, 2]
