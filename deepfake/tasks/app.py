"""Serve a local web page that predicts dropped videos."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from deepfake.config import to_plain
from deepfake.errors import UserError

if TYPE_CHECKING:
    from deepfake.app.jobs import UploadPredictor

LOOPBACK = ("127.0.0.1", "localhost", "::1")

log = logging.getLogger(__name__)


def main(cfg: DictConfig, run_dir: Path) -> None:
    """Serve until Ctrl-C."""
    for package in "starlette", "uvicorn", "python_multipart":
        try:
            import_module(package)
        except ModuleNotFoundError as err:
            raise UserError(f"{err.name} is not installed: uv sync --extra app installs it") from err
    config = to_plain(cfg)
    with ExitStack() as stack:
        stack.enter_context(end_signals_as_ctrl_c())
        listener = stack.enter_context(listening(config["host"], config["port"]))
        root = stack.enter_context(results_folder(config, run_dir))
        serve(cfg, config, listener, root)
    log.info("closed")


def serve(cfg: DictConfig, config: dict[str, Any], listener: socket.socket, root: Path) -> None:
    """Start the workers, then the page; until it is interrupted."""
    from deepfake.app.jobs import Queue
    from deepfake.app.server import make_app, run_server
    from deepfake.app.uploads import MB
    from deepfake.parallel.pool import Failure, WorkerProcess, size_in_bytes

    num_workers = config["num_workers"]
    memory_limit = size_in_bytes(config["memory_limit"], num_workers, key="memory_limit")
    workers = [
        WorkerProcess(
            partial(make_predictor, cfg),
            memory_limit=memory_limit,
            time_limit_s=config["time_limit_s"],
            scratch=None if config["keep"] else root,
            keys="",
        )
        for _ in range(num_workers)
    ]
    try:
        for worker in workers:
            about = worker.run(None)
            if isinstance(about, Failure):
                raise about.error
        queue = Queue(
            workers,
            root,
            max_waiting=config["max_waiting"],
            keep_minutes=config["keep_minutes"],
            keep=config["keep"],
        )
        max_bytes, max_seconds = int(config["max_mb"] * MB), config["max_seconds"]
        app = make_app(queue, about, host=config["host"], max_bytes=max_bytes, max_seconds=max_seconds)
        warn(config, root)
        host, port = listener.getsockname()[:2]
        log.info("drop videos at http://%s (Ctrl-C ends it)", address(host, port))
        run_server(app, listener)
    except KeyboardInterrupt:
        pass
    finally:
        for worker in workers:
            worker.stop()


def make_predictor(cfg: DictConfig) -> UploadPredictor:
    """What a worker process predicts with; raises UserError as prediction does."""
    from deepfake.app.jobs import UploadPredictor, facts_to_show
    from deepfake.app.uploads import Limits
    from deepfake.prediction.explain import check_explanation
    from deepfake.prediction.outputs import explainable
    from deepfake.tasks.build import choose_detector, make_limits, pick_device
    from deepfake.tasks.predict import decision_of_command, describe_detector

    config = to_plain(cfg)
    check_explanation(config["explain"])
    device = pick_device(config["device"])
    detector = choose_detector(cfg, device=device)
    if config["explain"]:
        explainable(detector)
    detector = detector.with_decision(decision_of_command(detector.checkpoint.decision, config))
    header = describe_detector(detector, by_command=config["threshold"] is not None)
    return UploadPredictor(
        detector=detector,
        about=facts_to_show(header, file=detector.path.name),
        limits=Limits(max_seconds=config["max_seconds"], max_pixels=config["max_pixels"]),
        annotate=config["annotate"],
        explain=config["explain"],
        file_limits=make_limits(cfg),
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to an address; raises UserError if that is impossible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as err:
            raise UserError(
                f"host={host} port={port}: cannot be listened on ({err}); try another port=…"
            ) from err
        yield listener


@contextmanager
def results_folder(config: dict[str, Any], run_dir: Path) -> Iterator[Path]:
    """Where uploads and results lie: a folder that only this user can read, deleted after the block.

    With keep it is one that stays.
    """
    if config["keep"]:
        folder = Path(config["keep_folder"] or run_dir / "videos").absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield folder
        return
    if config["keep_folder"] is not None:
        raise UserError(
            f"keep_folder={config['keep_folder']}: add keep=true to keep uploads and results there"
        )
    folder = Path(tempfile.mkdtemp(prefix="deepfake-app-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def end_signals_as_ctrl_c() -> Iterator[None]:
    """Treat a signal to end, or a terminal that closes, as Ctrl-C, so that nothing is left behind."""
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler)}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, raise_sigterm)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_sigterm(*_: object) -> None:
    """Pass a signal on as SIGTERM, for which the server sets its own handler."""
    signal.raise_signal(signal.SIGTERM)


def warn(config: dict[str, Any], root: Path) -> None:
    """Log what is unusual and matters."""
    if config["host"] not in LOOPBACK:
        log.warning(
            "host=%s: whoever reaches this machine can use the page, there is no login", config["host"]
        )
    if config["keep"]:
        log.warning("keep=true: uploads and results stay in %s", root)


def address(host: str, port: int) -> str:
    """host:port of a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
