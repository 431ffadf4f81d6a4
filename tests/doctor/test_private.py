import getpass
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepfake.doctor.private import forget, hidden


@pytest.fixture
def anna(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """hidden() as it is for anna, who has a key and a token in her environment."""
    for name, value in {
        "HOME": "/home/anna",
        "LOGNAME": "anna",
        "WANDB_API_KEY": "0123456789abcdef",
        "HF_TOKEN": "hf_0123456789abcdef",
        "USE_AUTH": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert (str(Path.home()), getpass.getuser()) == ("/home/anna", "anna")
    forget()
    yield hidden
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("key 0123456789abcdef is wrong", "key <secret> is wrong"),
        ("hf_0123456789abcdef", "<secret>"),
        ("http://me:pass@proxy:8080/x", "http://<secret>@proxy:8080/x"),
        ("/home/anna/videos/a.mp4: no such file", "~/videos/a.mp4: no such file"),
        ("/home/anna", "~"),
        ("/home/annabel/a.mp4", "/home/annabel/a.mp4"),
        ("/data/anna/a.mp4 of anna", "/data/<user>/a.mp4 of <user>"),
        ("data.anna=1, savanna, anna_2", "data.anna=1, savanna, anna_2"),
        ("true", "true"),
    ],
)
def test_secrets_home_and_user_are_not_told(anna: Callable[[Any], Any], text: str, told: str) -> None:
    assert anna(text) == told


def test_all_texts_of_nested_values_are_gone_through(anna: Callable[[Any], Any]) -> None:
    report = {"/home/anna": [("/home/anna/x", 3)], "ok": True, "none": None}
    assert anna(report) == {"~": [["~/x", 3]], "ok": True, "none": None}
