"""Bulk prediction as a job: every file a row, whatever befalls a run, and no more memory for more files."""

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

import commands
import pytest
from omegaconf import DictConfig

from deepfake.errors import SomeFailed, Stopped, UserError
from deepfake.faces.video_faces import VideoFaces
from deepfake.prediction.journal import Journal
from deepfake.prediction.outputs import FileOutputs
from deepfake.scoring.prediction import Prediction
from deepfake.tasks import predict

ROOT = Path(__file__).parents[2]
Composed = Callable[..., DictConfig]


def copies(folder: Path, video: Path, num: int, *, broken_every: int = 0) -> Path:
    """A folder of different files that show the same; every so many is cut in the middle."""
    folder.mkdir()
    whole = video.read_bytes()
    for number in range(num):
        broken = broken_every and number % broken_every == broken_every - 1
        content = whole[: len(whole) // 2] if broken else whole
        # what comes after the last box of an MP4 is passed over
        (folder / f"{number:03}.mp4").write_bytes(content + number.to_bytes(8, "big") * 2)
    return folder


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def command(quick_checkpoint: Path) -> Callable[..., list[str]]:
    """The command line of a prediction: command(run folder, input, …)."""

    def make(run_dir: Path, given: Path, *more: str) -> list[str]:
        script = str(ROOT / "scripts" / "predict.py")
        checkpoint = f"checkpoint={quick_checkpoint}"
        return [script, checkpoint, f"input={given}", f"hydra.run.dir={run_dir}", *more]

    return make


@pytest.fixture
def predicted(composed: Composed, quick_checkpoint: Path) -> Callable[..., None]:
    """Run the task in this process: predicted(run folder, files, …)."""

    def run(run_dir: Path, files: Path | Sequence[Path], *more: str) -> None:
        run_dir.mkdir(exist_ok=True)
        cfg = composed(
            "predict", f"checkpoint='{quick_checkpoint}'", "input=[]", "parallel.num_workers=0", *more
        )
        cfg.input = [str(file) for file in ([files] if isinstance(files, Path) else files)]
        predict.main(cfg, run_dir)

    return run


def test_a_broken_file_in_every_ten_costs_one_row_each(
    predicted: Callable[..., None], quick_video: Path, tmp_path: Path
) -> None:
    folder, run_dir = copies(tmp_path / "in", quick_video, 20, broken_every=10), tmp_path / "run"
    with pytest.raises(SomeFailed, match="2 of 20 files could not be read"):
        predicted(run_dir, folder)
    found = rows(run_dir)
    assert [row["file"] for row in found] == sorted(str(path) for path in folder.iterdir())
    assert [row["file"][-7:-4] for row in found if row["status"] == "error"] == ["009", "019"]
    good = [row for row in found if row["status"] == "ok"]
    assert len({row["prob"] for row in good}) == 1  # they show the same
    answer = json.loads((run_dir / "predictions.json").read_text())
    assert (answer["complete"], answer["num_files"], answer["num_failed"]) == (True, 20, 2)
    assert len({file["about"]["sha256"] for file in answer["files"]}) == 20
    assert answer["decision"]["threshold_origin"] == "validation"
    assert answer["decision"]["threshold_rule"] == "eer"


def test_the_origin_of_the_threshold_is_told(
    predicted: Callable[..., None], quick_video: Path, tmp_path: Path
) -> None:
    predicted(tmp_path / "run", quick_video, "threshold=0.3")
    decision = json.loads((tmp_path / "run" / "predictions.json").read_text())["decision"]
    told = (decision["threshold"], decision["threshold_origin"], decision["threshold_rule"])
    assert told == (0.3, "command line", None)


def test_artifacts_are_written_with_the_faces_at_hand_before_a_file_counts_as_finished(
    predicted: Callable[..., None], quick_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def write(
        artifacts: FileOutputs, source: Path, prediction: Prediction, faces: VideoFaces, _: object
    ) -> None:
        told.append((prediction.file, len(faces.table), (artifacts.run_dir / predict.JOURNAL).exists()))

    monkeypatch.setattr(FileOutputs, "write", write)
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(SomeFailed):
        predicted(tmp_path / "run", [quick_video, bad])
    assert told == [(str(quick_video), 4, False)]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException, int], None]:
    """Make writing a file down fail, the first time, after so many files."""

    def arm(error: BaseException, after: int) -> None:
        add, count = Journal.add, iter(range(10**6))

        def adding(self: Journal, judged: object) -> None:
            if next(count) == after:
                raise error
            add(self, judged)  # type: ignore[arg-type]

        monkeypatch.setattr(Journal, "add", adding)

    return arm


def test_an_interrupted_run_reports_what_it_did_and_goes_on_to_the_same_rows(
    predicted: Callable[..., None], stopped: Callable[..., None], quick_video: Path, tmp_path: Path
) -> None:
    folder, run_dir = copies(tmp_path / "in", quick_video, 5), tmp_path / "run"
    stopped(KeyboardInterrupt(), 3)
    with pytest.raises(KeyboardInterrupt, match=r"3 of 5 files are finished.*resume=true hydra\.run\.dir="):
        predicted(run_dir, folder)
    assert len(rows(run_dir)) == 3
    answer = json.loads((run_dir / "predictions.json").read_text())
    assert (answer["complete"], answer["num_files"], len(answer["files"])) == (False, 5, 3)
    lines = (run_dir / predict.JOURNAL).read_bytes()
    predicted(run_dir, folder, "resume=true")
    assert (run_dir / predict.JOURNAL).read_bytes().startswith(lines)
    assert len((run_dir / predict.JOURNAL).read_text().splitlines()) == 5
    predicted(tmp_path / "whole", folder)
    assert (run_dir / "predictions.csv").read_bytes() == (tmp_path / "whole/predictions.csv").read_bytes()
    assert json.loads((run_dir / "predictions.json").read_text())["complete"]


def test_a_full_disk_ends_the_run_in_one_line_that_says_how_to_go_on(
    predicted: Callable[..., None], stopped: Callable[..., None], quick_video: Path, tmp_path: Path
) -> None:
    folder = copies(tmp_path / "in", quick_video, 3)
    stopped(OSError(ENOSPC, "No space left on device"), 2)
    with pytest.raises(Stopped, match=r"no space left on the disk of .*2 of 3 files are finished"):
        predicted(tmp_path / "run", folder)


def test_resuming_does_again_what_failed_what_changed_and_what_other_settings_decided(
    predicted: Callable[..., None], quick_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def again(*more: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            predicted(run_dir, folder, "resume=true", *more)
        return next(record.message for record in caplog.records if "resuming" in record.message)

    folder, run_dir = copies(tmp_path / "in", quick_video, 4, broken_every=4), tmp_path / "run"
    with pytest.raises(SomeFailed):
        predicted(run_dir, folder)
    shutil.copy(folder / "000.mp4", folder / "003.mp4")  # mended
    assert again() == "resuming: 3 of 4 files are finished already"
    assert {row["status"] for row in rows(run_dir)} == {"ok"}
    shutil.copy(quick_video, folder / "001.mp4")
    assert again() == "resuming: 3 of 4 files are finished already"
    assert again("threshold=0.9") == "resuming: 0 of 4 files are finished already"
    assert {row["verdict"] for row in rows(run_dir)} == {"real"}


def test_resuming_a_folder_without_a_run_starts_one_and_says_so(
    predicted: Callable[..., None], quick_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predicted(tmp_path / "new", quick_video, "resume=true")
    assert "new (hydra.run.dir) holds no run" in caplog.text
    assert len(rows(tmp_path / "new")) == 1
    with pytest.raises(UserError, match="resume=some/run"):
        predicted(tmp_path / "other", quick_video, "resume=some/run")
    with pytest.raises(UserError, match=r"hydra\.run\.dir"):
        predicted(tmp_path / "2026-11-28_22-00-00", quick_video, "resume=true")


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def started(command: Callable[..., list[str]]) -> Iterator[Callable[..., commands.Command]]:
    """Start a prediction as a process group of its own, which ends with the test."""
    processes = []

    def start(*given: object) -> commands.Command:
        process = commands.start(
            command(*given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(journal: Path, num: int, process: commands.Command) -> None:
    """Until so many files are written down."""
    while num_lines(journal) < num:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_run_resumes_to_the_rows_of_an_undisturbed_one(
    started: Callable[..., commands.Command],
    predicted: Callable[..., None],
    quick_video: Path,
    tmp_path: Path,
    workers: int,
) -> None:
    folder = copies(tmp_path / "in", quick_video, 60, broken_every=10)
    with pytest.raises(SomeFailed):
        predicted(tmp_path / "whole", folder)
    journal, with_workers = tmp_path / "run" / predict.JOURNAL, f"parallel.num_workers={workers}"
    process = started(tmp_path / "run", folder, with_workers)
    wait_for(journal, 5, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = num_lines(journal)
    assert 5 <= left < 60
    before = journal.read_bytes()
    whole_lines = before[: before.rfind(b"\n") + 1]
    failed = before.count(b'"status": "error"')
    process = started(tmp_path / "run", folder, with_workers, "resume=true")
    printed, _ = process.communicate()
    assert process.returncode == 1, printed
    assert f"resuming: {left - failed} of 60 files are finished already" in printed
    assert "6 of 60 files could not be read" in printed
    assert journal.read_bytes().startswith(whole_lines)
    whole = (tmp_path / "whole" / "predictions.csv").read_bytes()
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == whole


def memory_mb(pid: int) -> float:
    """Resident memory of a process and of all that it started."""
    import psutil

    total = 0
    for process in (top := psutil.Process(pid)), *top.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 1e6


@pytest.mark.slow
def test_three_hundred_videos_need_no_more_memory_than_thirty(
    started: Callable[..., commands.Command], quick_video: Path, tmp_path: Path
) -> None:
    folder = copies(tmp_path / "in", quick_video, 300, broken_every=10)
    process = started(tmp_path / "run", folder, "parallel.num_workers=2")
    peaks, journal = {True: 0.0, False: 0.0}, tmp_path / "run" / predict.JOURNAL
    while process.poll() is None:
        early = num_lines(journal) <= 30
        peaks[early] = max(peaks[early], memory_mb(process.pid))
        time.sleep(0.05)
    printed, _ = process.communicate()
    assert process.returncode == 1, printed
    print(f"peak of the first 30: {peaks[True]:.0f} MB, of the others: {peaks[False]:.0f} MB")
    assert peaks[False] < 1.05 * peaks[True] + 20
    found = rows(tmp_path / "run")
    assert len(found) == 300
    assert [row["file"][-5] for row in found if row["status"] == "error"] == ["9"] * 30
