"""Sweeps as a user starts them, by every launcher that runs on one machine."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import commands
import pytest
from omegaconf import DictConfig, OmegaConf

from deepfake.errors import UserError
from deepfake.sweep import check_plugins

Composed = Callable[..., DictConfig]
ROOT = Path(__file__).parents[2]
LAUNCHERS = ("basic", "processes", "submitit")
FAST = ("trainer=cpu", "data.windows_per_video=1", "data.eval_windows=3", "trainer.max_epochs=1")


def call(task: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / f"{task}.py"), *arguments, f"hydra.sweep.dir={folder}"]
    done = commands.run(command, timeout=600)
    assert "Traceback" not in done.stderr
    return done


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(folder: Path, name: str) -> list[str]:
    return [row[name] for row in rows(folder)]


def videos_tested(run: Path) -> list[str]:
    with (run / "predictions.csv").open(newline="") as file:
        return [row["video"] for row in csv.DictReader(file)]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A corpus that can be audited, since that looks at names only."""
    for split in ("train", "val", "test"):
        for label in ("real", "fake"):
            video = tmp_path / "listed" / split / label / f"{split}_{label}.mp4"
            video.parent.mkdir(parents=True)
            video.touch()
    return tmp_path / "listed"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_that_end_badly_are_rows_stop_no_other_and_make_the_status(
    listed: Path, tmp_path: Path, launcher: str
) -> None:
    (listed / "corpus.json").write_text("no JSON")  # which demo reads and folder does not
    folder = tmp_path / "sweep"
    matrix = ("data=demo,folder", "data.protocol=official,nonsense")
    done = call("audit", folder, "-m", *matrix, f"data.root={listed}", f"hydra/launcher={launcher}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert column(folder, "status") == ["failed", "failed", "done", "mistake"]
    assert column(folder, "data") == ["demo", "demo", "folder", "folder"]
    broken, again, fine, mistake = column(folder, "error")
    assert broken == again == "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    assert fine == ""
    assert mistake.startswith("data.protocol=nonsense")
    assert mistake in done.stdout
    assert all(float(seconds) > 0 for seconds in column(folder, "seconds"))


def test_a_job_that_breaks_makes_the_status_1(listed: Path, tmp_path: Path) -> None:
    (listed / "corpus.json").write_text("no JSON")
    done = call("audit", tmp_path / "sweep", "-m", "data=demo,folder", f"data.root={listed}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert column(tmp_path / "sweep", "status") == ["failed", "done"]


def test_a_sweep_counts_its_own_jobs_only_but_its_table_holds_all_of_the_folder(
    listed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    assert call("audit", folder, "-m", "data=folder", "data.root=none").returncode == 2
    subdir = "hydra.sweep.subdir=second"
    assert call("audit", folder, "-m", "data=folder", f"data.root={listed}", subdir).returncode == 0
    assert column(folder, "status") == ["mistake", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["processes", "submitit"])
def test_trainings_at_once_share_one_corpus_and_one_extraction(tmp_path: Path, launcher: str) -> None:
    folder = tmp_path / "sweep"
    done = call(
        "train",
        folder,
        *(
            "-m",
            *FAST,
            f"hydra/launcher={launcher}",
            "seed=0,1",
            "data.num_workers=1",
        ),  # which loky's could not
        *(f"data.root={tmp_path / 'videos'}", f"data.store={tmp_path / 'store'}", "data.num_identities=6"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [folder / name for name in column(folder, "run")]
    assert column(folder, "status") == ["done", "done"]
    assert column(folder, "seed") == ["0", "1"]
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert [float(auroc) for auroc in column(folder, "test/video_auroc")] == [
        found["test/video_auroc"] for found in metrics
    ]
    returned = [json.loads((run / "status.json").read_text())["value"] for run in runs]
    assert [float(best) for best in column(folder, "best")] == pytest.approx(returned, abs=1e-6)
    assert videos_tested(runs[0]) == videos_tested(runs[1])
    assert len(videos_tested(runs[0])) == 8
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) == 24
    assert len(list((tmp_path / "store").rglob("*.arrow"))) == 24


def test_window_lengths_are_a_sweep_by_themselves_over_one_store_and_the_same_videos_tested(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    """The windows of the command win over those of the experiment; both jobs start processes, in loky's."""
    done = call(
        "train",
        tmp_path / "sweep",
        *("experiment=window_length", "model.window=1,16", *FAST, *tiny_demo),
        *(f"data.store={tmp_path / 'store'}", "hydra/launcher=processes", "data.num_workers=1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert column(tmp_path / "sweep", "model.window") == ["1", "16"]
    assert column(tmp_path / "sweep", "status") == ["done", "done"]
    assert len(set(column(tmp_path / "sweep", "protocol_hash"))) == 1
    first, second = (tmp_path / "sweep" / name for name in column(tmp_path / "sweep", "run"))
    assert videos_tested(first) == videos_tested(second)
    assert len(list((tmp_path / "store").rglob("*.arrow"))) == 24
    assert (tmp_path / "sweep" / "sweep.png").is_file()


def test_checkpoints_times_splits_give_a_matrix_with_the_audit_of_each_cell(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "matrix"
    checkpoints = [trained / "checkpoints" / f"epoch={epoch:03}.ckpt" for epoch in (0, 1)]
    listed = ",".join(str(path) for path in checkpoints)
    done = call("evaluate", folder, "-m", f"checkpoint={listed}", "split=val,test", "trainer=cpu", *tiny_demo)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = json.loads((folder / "matrix.json").read_text())
    assert whole["test"] == ["demo/official (split=val)", "demo/official (split=test)"]
    assert len(whole["train"]) == 2
    assert [cell["checkpoint"] for cell in whole["cells"]] == [
        str(path) for path in checkpoints for _ in (0, 1)
    ]
    # all of val stood in selection, nothing of test did
    assert ["people" in cell["leaks"] for cell in whole["cells"]] == [True, False, True, False]
    tested = json.loads((trained / "metrics.json").read_text())
    best = [cell for cell in whole["cells"] if cell["split"] == "test"]
    assert tested["test/video_auroc"] in [cell["video_auroc"] for cell in best]
    assert {"matrix.csv", "matrix.png", "matrix.html"} <= {path.name for path in folder.iterdir()}


def test_a_search_without_a_finished_trial_ends_with_its_mistake(tmp_path: Path) -> None:
    done = call(
        "train", tmp_path, "experiment=search", "data=folder", "data.root=none", "hydra.sweeper.n_trials=1"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert column(tmp_path, "status") == ["mistake"]


@pytest.mark.slow
def test_a_search_is_kept_in_its_folder_and_goes_on_with_more_trials(
    tiny_demo: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    import optuna

    def search(num_trials: int) -> None:
        done = call(
            "train",
            tmp_path / "search",
            *(
                "experiment=search",
                f"hydra.sweeper.n_trials={num_trials}",
                "model.window=1",
                *FAST,
                *tiny_demo,
            ),
            "faces.num_clips=2",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def study() -> optuna.Study:
        return optuna.load_study(
            study_name="val/loss", storage=f"sqlite:///{tmp_path / 'search' / 'study.db'}"
        )

    search(2)
    assert study().direction == optuna.study.StudyDirection.MINIMIZE
    first = [trial.value for trial in study().trials]
    assert len(first) == 2
    search(1)
    values = [trial.value for trial in study().trials]
    assert values[:2] == first
    assert [float(best) for best in column(tmp_path / "search", "best")] == pytest.approx(values, abs=1e-6)
    assert column(tmp_path / "search", "status") == ["done"] * 3
    rates = [trial.params["model.optimizer.lr"] for trial in study().trials]
    assert [float(rate) for rate in column(tmp_path / "search", "model.optimizer.lr")] == rates


@pytest.mark.parametrize(
    ("part", "choice", "target", "extra"),
    [
        ("launcher", "processes", "hydra_plugins.hydra_joblib_gone.x.Y", "launch"),
        ("sweeper", "tpe", "hydra_plugins.hydra_optuna_sweeper.gone.Y", "hpo"),
    ],
)
def test_a_missing_plugin_is_one_line_that_names_the_extra(
    part: str, choice: str, target: str, extra: str
) -> None:
    own = {name: {"_target_": "deepfake.errors.UserError"} for name in ("launcher", "sweeper")}
    own[part]["_target_"] = target
    config = OmegaConf.create({"hydra": {**own, "runtime": {"choices": {f"hydra/{part}": choice}}}})
    with pytest.raises(
        UserError, match=f"hydra/{part}={choice}: .*; install it with: uv sync --extra {extra}$"
    ):
        check_plugins(config)
