"""What scripts/app.py makes of its command line before there is a page."""

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from deepfake.errors import UserError
from deepfake.tasks import app

Composed = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["port=99999"], "host=127.0.0.1 port=99999: cannot be listened on"),
        (["host=192.0.2.1"], "host=192.0.2.1 port=0: cannot be listened on"),
        (["keep_folder=kept"], "keep_folder=kept: add keep=true to keep uploads and results there"),
    ],
)
def test_a_mistake_names_the_key(
    composed: Composed, tmp_path: Path, overrides: list[str], message: str
) -> None:
    cfg = composed("app", "checkpoint=none.ckpt", "port=0", *overrides)
    with pytest.raises(UserError) as caught:
        app.main(cfg, tmp_path)
    assert str(caught.value).startswith(message)


def test_a_missing_checkpoint_is_told_before_there_is_a_page(composed: Composed, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^checkpoint=none\.ckpt: no such file$"):
        app.main(composed("app", "checkpoint=none.ckpt", "port=0"), tmp_path)
    with pytest.raises(UserError, match=r"^explain=perhaps: must be false or one of true, occlusion$"):
        app.make_predictor(composed("app", "checkpoint=none.ckpt", "explain=perhaps"))


def test_a_port_in_use_is_told(composed: Composed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port={port}: cannot be listened on .*; try another port=…"):
            app.main(composed("app", "checkpoint=none.ckpt", f"port={port}"), tmp_path)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_package_is_told_with_the_mend(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"^{package} is not installed: uv sync --extra app installs it$"):
        app.main(composed("app", "checkpoint=none.ckpt"), tmp_path)


def test_results_lie_in_a_folder_of_this_user_alone_that_goes(tmp_path: Path) -> None:
    with app.results_folder({"keep": False, "keep_folder": None}, tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "some").mkdir()
    assert not folder.exists()
    with app.results_folder({"keep": True, "keep_folder": None}, tmp_path) as folder:
        assert folder == tmp_path / "videos"
    assert folder.is_dir()
    with app.results_folder({"keep": True, "keep_folder": str(tmp_path / "a" / "b")}, tmp_path) as folder:
        assert folder == tmp_path / "a" / "b"


def test_what_is_open_to_others_or_kept_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        app.warn({"host": "127.0.0.1", "keep": False}, tmp_path)
        assert caplog.messages == []
        app.warn({"host": "0.0.0.0", "keep": True}, tmp_path)
    assert caplog.messages == [
        "host=0.0.0.0: whoever reaches this machine can use the page, there is no login",
        f"keep=true: uploads and results stay in {tmp_path}",
    ]
