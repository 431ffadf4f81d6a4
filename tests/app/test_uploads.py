from pathlib import Path

import pytest

from deepfake.app.uploads import Refused, UploadReceiver, safe_label

FILM = b"\x00\x00\x00\x18ftypisom" + bytes(range(256)) * 8
KIND = "multipart/form-data; boundary=XX"


def body(content: bytes = FILM, name: str = "video", file: str | None = 'filename="film.mp4"') -> bytes:
    form = f'form-data; name="{name}"' + (f"; {file}" if file else "")
    head = f"--XX\r\nContent-Disposition: {form}\r\nContent-Type: video/mp4\r\n\r\n"
    return head.encode() + content + b"\r\n--XX--\r\n"


def received(request: bytes, folder: Path, *, step: int = 65536, max_bytes: int = 10_000) -> tuple[Path, str]:
    receiver = UploadReceiver(KIND, folder, max_bytes=max_bytes)
    try:
        for start in range(0, len(request), step):
            receiver.write(request[start : start + step])
        return receiver.close()
    finally:
        receiver.discard()


@pytest.mark.parametrize("step", [1, 7, 500, 65536])
def test_the_file_arrives_whole_however_the_request_is_cut(tmp_path: Path, step: int) -> None:
    path, label = received(body(), tmp_path, step=step)
    assert (path, label) == (tmp_path / "upload.mp4", "film.mp4")
    assert path.read_bytes() == FILM


def test_a_film_shorter_than_a_head_arrives_too(tmp_path: Path) -> None:
    path, _ = received(body(FILM[:20]), tmp_path)
    assert path.read_bytes() == FILM[:20]


def test_fields_beside_the_file_are_passed_over(tmp_path: Path) -> None:
    request = body(b"note", name="comment", file=None)[:-8] + b"\r\n" + body()
    assert received(request, tmp_path)[0].read_bytes() == FILM


@pytest.mark.parametrize(
    ("request_body", "status", "text"),
    [
        (
            body(b"Dear reader, " * 60),
            415,
            "film.mp4 is not a video: its content is that of no film or picture",
        ),
        (body(b""), 415, "film.mp4 is not a video: its content is that of no film or picture"),
        (body(FILM * 5), 413, "film.mp4 is larger than the 0.01 MB that this page takes (max_mb)"),
        (body(name="film"), 400, "no file in the request: send it as its field “video”"),
        (body(file=None), 400, "no file in the request: send it as its field “video”"),
        (body()[:-30], 400, "the request ended in the middle of the upload"),
        (b"hello", 400, "this is not a readable multipart/form-data request"),
        (body()[:-8] + b"\r\n" + body(), 400, "one video per request, please"),
    ],
)
def test_what_is_refused_says_why(tmp_path: Path, request_body: bytes, status: int, text: str) -> None:
    with pytest.raises(Refused) as caught:
        received(request_body, tmp_path)
    assert (caught.value.status, caught.value.text) == (status, text)


def test_nothing_is_written_of_what_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        received(body(b"Dear reader, " * 60), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "multipart/form-data"])
def test_only_a_form_is_taken(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Refused) as caught:
        UploadReceiver(kind, tmp_path, max_bytes=10)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("film.mp4", "film.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.mov", "a.mov"),
        ("<b>«Ü»</b>.mp4", "b>.mp4"),
        ("a\x00b\n\u202egpj.mp4", "a\\x00b\\n\\u202egpj.mp4"),
        ("", "video without a name"),
        ("x" * 200 + ".mp4", "x" * 60 + "…" + "x" * 56 + ".mp4"),
    ],
)
def test_a_name_is_made_safe_to_show(name: str, shown: str) -> None:
    assert safe_label(name) == shown
