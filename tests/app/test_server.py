"""The API with a worker that only pretends; see test_page.py for the real one."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from deepfake.app.jobs import Queue
from deepfake.app.server import HEADERS, is_own_name, make_app
from deepfake.errors import UserError
from deepfake.parallel.pool import MemoryLimitReached, TimeLimitReached
from deepfake.reports.predictions import ModelFacts

ABOUT = ModelFacts(
    checkpoint="best.ckpt", threshold=0.645, threshold_origin="fitted on «demo»", undetermined_margin=0.1
)
Serve = Callable[..., Any]


@pytest.fixture
def serve(worker: Any, tmp_path: Path) -> Serve:
    @contextmanager
    def run(host: str = "127.0.0.1", max_bytes: int = 100_000, **values: Any) -> Iterator[TestClient]:
        queue = Queue([worker], tmp_path, **values)
        app = make_app(queue, ABOUT, host=host, max_bytes=max_bytes, max_seconds=60)
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            client.app_queue = queue  # type: ignore[attr-defined]
            yield client

    return run


def post(client: TestClient, content: bytes, name: str = "film.mp4", **values: Any) -> httpx.Response:
    return client.post("/api/videos", files={"video": (name, content)}, **values)


def result(client: TestClient, url: str, status: str = "done") -> dict[str, Any]:
    end = time.monotonic() + 20
    while (video := client.get(url).json())["status"] not in ("done", "failed"):
        assert time.monotonic() < end, video
        time.sleep(0.01)
    assert video["status"] == status, video
    return video


def test_an_upload_is_answered_and_gone_with_the_answer(serve: Serve, film: bytes, tmp_path: Path) -> None:
    with serve() as client:
        answer = post(client, film)
        assert answer.status_code == 202
        name = answer.json()["id"]
        assert re.fullmatch(r"[\w-]{24}", name)
        assert answer.json()["url"] == answer.headers["location"] == f"/api/videos/{name}"
        video = result(client, f"/api/videos/{name}")
        assert video["name"] == "film.mp4"
        assert video["prediction"] == {"file": "film.mp4", "bytes": len(film)}
        assert video["files"] == {"report.html": f"/api/videos/{name}/report.html"}
        assert not list(tmp_path.rglob("upload*"))
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
        page = client.get(video["files"]["report.html"])
        assert page.text == "<p>film.mp4"
        assert "sandbox" in page.headers["content-security-policy"]
        assert "script-src" not in page.headers["content-security-policy"]


def test_an_upload_is_gone_after_a_failure_too(serve: Serve, film: bytes, tmp_path: Path) -> None:
    with serve() as client:
        first, second = post(client, film, "crash.mp4"), post(client, film, "fine.mp4")
        video = result(client, first.json()["url"], "failed")
        assert video["message"] == "the process that read it crashed (SIGSEGV)"
        assert result(client, second.json()["url"])["name"] == "fine.mp4"
        assert [path.name for path in tmp_path.iterdir()] == [second.json()["id"]]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (UserError("film.mp4: it is 61 s long"), "film.mp4: it is 61 s long"),
        (ZeroDivisionError("a mistake"), "an unforeseen error stopped it: ZeroDivisionError: a mistake"),
        (TimeLimitReached("it took longer than 900 s"), "it took longer than 900 s"),
        (MemoryLimitReached("it needed more than 2.0 GB"), "it needed more than 2.0 GB"),
    ],
)
def test_why_there_is_no_result_is_told(
    serve: Serve, film: bytes, worker: Any, outcome: Exception, message: str
) -> None:
    worker.outcome = outcome
    with serve() as client:
        assert result(client, post(client, film).json()["url"], "failed")["message"] == message


def test_an_upload_and_its_result_stay_when_asked(serve: Serve, film: bytes, tmp_path: Path) -> None:
    with serve(keep=True) as client:
        name = post(client, film).json()["id"]
        result(client, f"/api/videos/{name}")
        assert client.delete(f"/api/videos/{name}").status_code == 204
    assert (tmp_path / name / "upload.mp4").read_bytes() == film
    assert (tmp_path / name / "report.html").is_file()


def test_results_are_forgotten_in_time_or_when_asked(serve: Serve, film: bytes, tmp_path: Path) -> None:
    with serve(keep_minutes=0.02) as client:
        url = post(client, film).json()["url"]
        result(client, url)
        time.sleep(2.5)
        gone = client.get(url)
        assert (gone.status_code, gone.json()) == (
            404,
            {"error": "there is no such video here: results are kept for 0.02 minutes"},
        )
        assert list(tmp_path.iterdir()) == []
    with serve() as client:
        url = post(client, film).json()["url"]
        result(client, url)
        assert client.delete(url).status_code == 204
        assert client.get(url).status_code == client.delete(url).status_code == 404
        assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_removed_while_it_waits_or_is_worked_on_leaves_nothing(
    serve: Serve, film: bytes, tmp_path: Path, worker: Any
) -> None:
    worker.go.clear()
    with serve() as client:
        running, waiting = (post(client, film).json() for _ in range(2))
        worker.began.wait(10)
        assert client.delete(waiting["url"]).status_code == 204
        assert [path.name for path in tmp_path.iterdir()] == [running["id"]]
        assert client.delete(running["url"]).status_code == 204
        end = time.monotonic() + 10
        while list(tmp_path.iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        assert list(tmp_path.iterdir()) == []
        assert [task.folder.name for task in worker.tasks] == [running["id"]]


def test_places_in_the_queue_are_told_and_kept(serve: Serve, film: bytes, worker: Any) -> None:
    worker.go.clear()
    with serve() as client:
        names = ["a.mp4", "b.mp4", "c.mp4"]
        urls = [post(client, film, name).json()["url"] for name in names]
        worker.began.wait(10)
        videos = [client.get(url).json() for url in urls]
        assert [video["status"] for video in videos] == ["working", "waiting", "waiting"]
        assert [video["place"] for video in videos] == [0, 1, 2]
        assert (videos[0]["stage"], videos[0]["progress"]) == ("looking for faces", 0.25)
        worker.go.set()
        assert [result(client, url)["prediction"]["file"] for url in urls] == names
        assert [task.label for task in worker.tasks] == names


def test_too_many_uploads_are_told_to_come_again(serve: Serve, film: bytes, worker: Any) -> None:
    worker.go.clear()
    with serve(max_waiting=2) as client:
        post(client, film)
        worker.began.wait(10)
        assert [post(client, film).status_code for _ in range(2)] == [202, 202]
        refused = post(client, film)
        assert refused.status_code == 429
        assert refused.json() == {"error": "2 videos are waiting already: try again when some are done"}
        assert refused.headers["retry-after"] == "30"


@pytest.mark.parametrize("told", [True, False])
def test_a_file_beyond_the_limit_is_refused_whether_its_size_is_told_or_not(
    serve: Serve, film: bytes, tmp_path: Path, told: bool
) -> None:
    with serve(max_bytes=len(film)) as client:
        assert post(client, film).status_code == 202
        large = httpx.Request("POST", "http://x", files={"video": ("big.mp4", film + bytes(100_000))})
        body = large.read()
        headers = {"content-type": large.headers["content-type"]}
        answer = client.post(
            "/api/videos",
            headers=headers,
            content=body if told else (body[i : i + 999] for i in range(0, len(body), 999)),
        )
        assert answer.status_code == 413
        limit = f"is larger than the {len(film) / 1e6:g} MB that this page takes (max_mb)"
        assert answer.json()["error"] == f"{'the upload' if told else 'big.mp4'} {limit}"
        assert len(list(tmp_path.iterdir())) == 1


def test_one_byte_more_than_the_limit_is_too_much(serve: Serve, film: bytes) -> None:
    with serve(max_bytes=len(film) - 1) as client:
        assert post(client, film).status_code == 413


def test_a_text_with_a_films_name_is_refused_in_one_sentence(
    serve: Serve, tmp_path: Path, worker: Any
) -> None:
    with serve() as client:
        start = time.monotonic()
        answer = post(client, b"Dear reader,\n" * 100, "letter <i>.mp4")
        assert time.monotonic() - start < 5  # nothing more is waited for
        assert answer.status_code == 415
        assert answer.json() == {
            "error": "letter <i>.mp4 is not a video: its content is that of no film or picture"
        }
        assert list(tmp_path.iterdir()) == worker.tasks == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/videos/none", 404),
        ("/api/videos", 405),
        ("/nothing", 404),
        ("/static/nothing.js", 404),
        ("/static/../server.py", 404),
        ("/static/%2e%2e/server.py", 404),
    ],
)
def test_what_is_not_there_is_an_error_in_json(serve: Serve, path: str, status: int) -> None:
    with serve() as client:
        answer = client.get(path)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("file", ["secret.txt", "upload.mp4", "..%2fx", "%2e%2e"])
def test_only_listed_files_of_a_result_are_served(serve: Serve, film: bytes, file: str) -> None:
    with serve() as client:
        url = post(client, film).json()["url"]
        result(client, url)
        assert client.get(f"{url}/{file}").status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "evil.example:8000", "", "["]
)
def test_other_names_of_this_machine_are_refused(serve: Serve, host: str) -> None:
    with serve() as client:
        for method, path in ("GET", "/"), ("GET", "/api/videos/x"), ("POST", "/api/videos"):
            answer = client.request(method, path, headers={"host": host})
            assert answer.status_code == 403
            assert "does not answer to the name" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"origin": "http://127.0.0.1:8000"}, 202),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 202),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_sites_cannot_upload_or_delete(
    serve: Serve, film: bytes, headers: dict[str, str], status: int
) -> None:
    with serve() as client:
        assert post(client, film, headers=headers).status_code == status
        delete = client.delete("/api/videos/none", headers=headers)
        assert delete.status_code == (404 if status == 202 else 403)


@pytest.mark.parametrize(
    ("named", "bound", "known"),
    [
        ("127.0.0.1:8000", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:1", "127.0.0.1", True),
        ("[::1]:8000", "127.0.0.1", True),
        ("192.168.1.5:8000", "127.0.0.1", False),
        ("192.168.1.5:8000", "192.168.1.5", True),
        ("192.168.1.5:8000", "0.0.0.0", True),
        ("[fe80::1]:8000", "::", True),
        ("evil.example", "0.0.0.0", False),
        ("studio.example:8000", "studio.example", True),
    ],
)
def test_names_are_known_by_the_address_that_is_listened_on(named: str, bound: str, known: bool) -> None:
    assert is_own_name(named, bound) is known


def test_every_answer_forbids_what_the_page_does_not_need(serve: Serve, film: bytes) -> None:
    with serve() as client:
        answers = [client.get("/"), client.get("/static/app.js"), client.get("/x"), post(client, film)]
        answers += [client.get("/", headers={"host": "evil.example"}), post(client, b"text")]
        for answer in answers:
            assert answer.headers["content-security-policy"].startswith(
                "default-src 'none'; script-src 'self';"
            )
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_the_page_tells_the_scores_meaning_and_names_no_other_site(serve: Serve) -> None:
    with serve() as client:
        page = client.get("/").text
        text = re.sub(r"<[^>]+>|\s+", " ", page)
        told = re.sub(" +", " ", text)
        for sentence in (
            "from 0 (real) to 1 (fake)",
            "threshold is 0.645, fitted on «demo»",
            "no face was found, or the score is within 0.1 of the threshold",
            "A verdict is a reason to look closer and no proof",
            "up to 0.1 MB and 60 seconds each; deleted as soon as the answer is made",
        ):
            assert sentence in told
        files = [client.get(f"/static/{name}").text for name in ("app.js", "app.css", "mark.svg")]
        addresses = {a for text in (page, *files) for a in re.findall(r"\b(?:https?:)?//[\w.:]+", text)}
        assert addresses <= {"http://www.w3.org", "http://127.0.0.1:8000"}
