"""The page as its user has it: scripts/app.py with a trained detector, over HTTP and in Chromium."""

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import commands
import httpx
import numpy as np
import pytest
from extracted import extracted_faces
from playwright.sync_api import Browser, Page

from deepfake.prediction.predictor import predict_faces
from deepfake.training.checkpoint import read_detector
from deepfake.video.write import write_video

Offline = Callable[[Path], dict[str, str]]
ROOT = Path(__file__).parents[2]
START_S = 600  # seconds by itself, but tests run where all cores are busy
REFUSED = "Failed to load resource: the server responded with a status of 415 (Unsupported Media Type)"


@contextmanager
def started(
    checkpoint: Path, environment: dict[str, str], folder: Path, *overrides: str
) -> Iterator[tuple[str, commands.Command]]:
    """The app's address and its process, which has the folder for its temporary files and its run.

    In this environment it cannot connect to another machine, and it must not try.
    """
    command = [str(ROOT / "scripts" / "app.py"), f"checkpoint={checkpoint}", "port=0", "device=cpu"]
    with (folder / "printed").open("w") as printed:
        process = commands.start(
            [*command, f"hydra.run.dir={folder / 'run'}", *overrides],
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment | {"TMPDIR": str(folder)},
        )
    try:
        end = time.monotonic() + START_S
        while not (found := re.search(r"http://[\w.:]+", (folder / "printed").read_text())):
            assert process.poll() is None, (folder / "printed").read_text()
            assert time.monotonic() < end, (folder / "printed").read_text()
            time.sleep(0.05)
        yield found[0], process
    finally:
        process.kill()
        process.wait()
        assert (folder / "refused").read_text() == ""


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Path:
    return trained / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def app(
    checkpoint: Path, offline: Offline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The app's address, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("app")
    with started(checkpoint, offline(folder), folder, "max_mb=1", "max_seconds=20") as (url, _):
        yield url, folder


@pytest.fixture(scope="module")
def videos(tiny_demo: tuple[str, ...]) -> list[Path]:
    return sorted(Path(tiny_demo[0].partition("=")[2]).rglob("*.mp4"))


def uploads(folder: Path) -> list[Path]:
    return list(folder.glob("deepfake-app-*/*/upload*"))


def test_twenty_requests_at_once_get_each_the_answer_of_its_own_file(
    app: tuple[str, Path], checkpoint: Path, videos: list[Path]
) -> None:
    url, folder = app
    files = [videos[place % len(videos)] for place in range(20)]

    async def ask(client: httpx.AsyncClient, place: int) -> dict[str, Any]:
        with files[place].open("rb") as file:
            answer = await client.post("/api/videos", files={"video": (f"film {place}.mp4", file)})
        assert answer.status_code == 202
        while (video := (await client.get(answer.json()["url"])).json())["status"] in ("waiting", "working"):
            await asyncio.sleep(0.1)
        return video

    async def ask_all() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=url, timeout=900) as client:
            return await asyncio.gather(*(ask(client, place) for place in range(20)))

    with ThreadPoolExecutor(1) as thread:  # in this one Playwright's loop may be running
        answers = thread.submit(asyncio.run, ask_all()).result()
    assert uploads(folder) == []
    detector, settings = read_detector(checkpoint)
    direct = {
        file: predict_faces(detector, settings, str(file), extracted_faces(file, settings.faces))
        for file in set(files)
    }
    assert len({prediction.prob for prediction in direct.values()}) == len(direct) > 5
    for place, (file, answer) in enumerate(zip(files, answers, strict=True)):
        expected, found = direct[file].to_dict(), answer["prediction"]
        assert found["file"] == answer["name"] == f"film {place}.mp4"
        assert found["prob"] == pytest.approx(expected["prob"], abs=1e-6)
        for name in ("status", "verdict", "reason", "sampled_frames", "face_frames"):
            assert found[name] == expected[name]
        windows = [[w["prob"] for w in track["windows"]] for track in found["tracks"]]
        assert windows == [
            pytest.approx([w["prob"] for w in track["windows"]], abs=1e-6) for track in expected["tracks"]
        ]
        assert answer["threshold"] == settings.decision.cut


def test_real_troubles_are_told_in_one_sentence_each(app: tuple[str, Path], videos: list[Path]) -> None:
    url, folder = app
    long = folder / "long.mp4"
    write_video(long, [np.full((48, 64, 3), 90, np.uint8)] * 21, fps=1)
    content = videos[0].read_bytes()
    with httpx.Client(base_url=url, timeout=START_S) as client:

        def message(name: str, content: bytes) -> str:
            answer = client.post("/api/videos", files={"video": (name, content)})
            if answer.status_code != 202:
                return answer.json()["error"]
            while (video := client.get(answer.json()["url"]).json())["status"] in ("waiting", "working"):
                time.sleep(0.05)
            assert video["status"] == "failed"
            return video["message"]

        assert message("long.mp4", long.read_bytes()) == (
            "long.mp4: it is 21 s long, and this page takes up to 20 s (max_seconds)"
        )
        assert message("cut.mp4", content[: len(content) // 2]).startswith("cut.mp4: not a readable video")
        assert message("big.mp4", content + bytes(1_000_000)) == (
            "big.mp4 is larger than the 1 MB that this page takes (max_mb)"
        )
        assert message("letter.mp4", b"Dear reader, " * 99) == (
            "letter.mp4 is not a video: its content is that of no film or picture"
        )
    assert uploads(folder) == []


@pytest.fixture
def page(browser: Browser, app: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at a width; at the end nothing was asked of others, and only refusals were complained of."""
    url, _ = app
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.set_default_timeout(1000 * START_S)
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(url)
    yield page
    assert set(errors) <= {REFUSED}  # which browsers say of every refusal, whatever the page does
    assert [sent for sent in asked if not sent.startswith(f"{url}/")] == []
    page.close()


WIDTHS = pytest.mark.parametrize("page", [1280, 400], indirect=True)


@WIDTHS
def test_a_dropped_video_is_uploaded_judged_and_shown(
    page: Page, app: tuple[str, Path], videos: list[Path], checkpoint: Path, tmp_path: Path
) -> None:
    url, folder = app
    page.locator("#pick").set_input_files(videos[0])
    card = page.locator(".video")
    verdict = card.locator(".verdict strong")
    steps = set()
    end = time.monotonic() + START_S
    while not verdict.is_visible():
        assert time.monotonic() < end, steps
        steps.add(re.sub(r",? (\d+ %|…)$", "", card.locator("small").first.inner_text()))
    known = "uploading|next in the queue|reading|looking for faces|scoring|drawing the video"
    assert any(re.fullmatch(known, step) for step in steps), steps
    detector, settings = read_detector(checkpoint)
    direct = predict_faces(detector, settings, "", extracted_faces(videos[0], settings.faces))
    assert direct.prob is not None
    assert verdict.inner_text().lower() == direct.verdict
    assert card.locator(".chip").inner_text() == f"{direct.verdict} {direct.prob:.3f}"
    assert card.locator(".bar").is_hidden()
    assert card.locator(".person").count() == len(direct.tracks) == 1
    assert card.locator(".timeline .mark").count() == len(direct.tracks[0].windows)
    pictures = card.locator("img")
    assert pictures.count() == 1 + len(direct.suspicious) + len(direct.least_suspicious)
    for place in range(pictures.count()):
        pictures.nth(place).scroll_into_view_if_needed()
        page.wait_for_timeout(50)
        assert pictures.nth(place).evaluate("image => image.naturalWidth") > 0
    film = card.locator("video")
    page.wait_for_timeout(500)
    assert film.evaluate("film => film.readyState") >= 1
    assert film.evaluate("film => film.duration") == pytest.approx(direct.about["duration_s"], abs=0.1)
    card.locator(".timeline").click()
    assert film.evaluate("film => film.currentTime") == pytest.approx(direct.about["duration_s"] / 2, abs=0.2)
    report = httpx.get(url + str(card.get_by_text("Full report").get_attribute("href")))
    assert f"{direct.prob:.3f}" in report.text
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert uploads(folder) == []
    page.screenshot(path=tmp_path / "result.png", full_page=True)
    page.reload()
    verdict.wait_for()
    card.get_by_role("button", name="Remove").click()
    assert card.count() == 0
    page.reload()
    assert page.locator(".video").count() == 0


@WIDTHS
def test_a_text_and_an_oversize_file_are_refused_on_the_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("Dear reader, " * 99)
    (tmp_path / "<b>big.mp4").write_bytes(bytes(1_000_001))
    page.locator("#pick").set_input_files([tmp_path / "letter.mp4", tmp_path / "<b>big.mp4"])
    assert page.locator("#notice").inner_text() == "<b>big.mp4 is larger than the 1 MB that this page takes."
    page.locator(".chip").wait_for()
    assert page.locator(".video").count() == 1
    assert page.locator(".video .name").inner_text().splitlines() == [
        "letter.mp4",
        "letter.mp4 is not a video: its content is that of no film or picture",
    ]
    assert page.locator(".chip").inner_text() == "not judged"
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_leaves_no_upload(
    checkpoint: Path, offline: Offline, videos: list[Path], tmp_path: Path, sent: signal.Signals
) -> None:
    with started(checkpoint, offline(tmp_path), tmp_path) as (url, process):
        for video in videos[:3]:
            with video.open("rb") as file:
                assert (
                    httpx.post(f"{url}/api/videos", files={"video": file}, timeout=START_S).status_code == 202
                )
        assert len(list(tmp_path.glob("deepfake-app-*"))) == 1
        start = time.monotonic()
        process.send_signal(sent)
        assert process.wait(120) == 0
        assert time.monotonic() - start < 60  # two seconds where nothing else runs
    assert list(tmp_path.glob("deepfake-app-*")) == []
    printed = (tmp_path / "printed").read_text().splitlines()
    assert printed == [f"drop videos at {url} (Ctrl-C ends it)", "closed"]


def test_a_killed_app_leaves_no_upload_either(
    checkpoint: Path, offline: Offline, videos: list[Path], tmp_path: Path
) -> None:
    with started(checkpoint, offline(tmp_path), tmp_path) as (url, process):
        with videos[0].open("rb") as file:
            assert httpx.post(f"{url}/api/videos", files={"video": file}, timeout=START_S).status_code == 202
        process.kill()
    end = time.monotonic() + START_S
    while list(tmp_path.glob("deepfake-app-*")) and time.monotonic() < end:
        time.sleep(0.05)
    assert list(tmp_path.glob("deepfake-app-*")) == []
