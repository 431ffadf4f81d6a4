import ast
import subprocess
import sys
from pathlib import Path
from types import FrameType

from deepfake import load_detector, predict_video

PACKAGE = Path(__file__).parents[1] / "deepfake"
ORDER = """
    errors records io config signals parallel video corpora faces data models scoring reports training
    prediction app tasks sweep config_values cli
""".split()
APART = {"data", "models", "scoring"}


def stage_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_stages(path: Path) -> set[str]:
    stages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{a.name}" for a in node.names]
        stages |= {name.split(".")[1] for name in names if name.startswith("deepfake.")}
    return stages


def test_imports_only_point_up_the_order() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own, imported = stage_of(path), imported_stages(path)
        if own == "__init__":
            # named for type checkers, imported when asked for
            allowed = {"prediction", "scoring"}
        else:
            allowed = set(ORDER[: ORDER.index(own) + 1]) - ((APART - {own}) if own in APART else set())
        wrong += [f"{path.relative_to(PACKAGE)} imports deepfake.{stage}" for stage in imported - allowed]
    assert wrong == []


LOADED = """
import sys
{statement}
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "deepfake"))
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {heavy!r}))
"""


def imported_by(statement: str, *heavy: str) -> tuple[list[str], list[str]]:
    """Modules of the package, and those of other packages, that a fresh process holds after a statement."""
    code = LOADED.format(statement=statement, heavy=set(heavy))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, others = done.stdout.splitlines()
    return own.split(), others.split()


def test_the_library_imports_only_what_scoring_a_video_takes() -> None:
    heavy = ("albumentations", "pytorch_lightning", "distributed", "dask", "wandb", "matplotlib")
    own, others = imported_by("from deepfake import load_detector, predict_video", *heavy)
    assert others == []
    assert len(own) <= 35, own


def test_the_prediction_command_imports_neither_training_nor_reports() -> None:
    own, others = imported_by("import deepfake.tasks.predict", "albumentations", "pytorch_lightning")
    assert others == []
    assert len(own) <= 45, own


def test_one_file_runs_through_at_most_25_modules(quick_checkpoint: Path, quick_video: Path) -> None:
    detector = load_detector(quick_checkpoint, device="cpu")
    predict_video(quick_video, detector)  # so that nothing is imported below
    ways: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        ways.add(frame.f_globals.get("__name__", ""))

    sys.setprofile(note)
    try:
        predict_video(quick_video, detector)
    finally:
        sys.setprofile(None)
    way = sorted(name for name in ways if name.startswith("deepfake."))
    assert len(way) <= 25, way
    assert {"deepfake.faces.extract", "deepfake.models.detector", "deepfake.scoring.aggregate"} <= set(way)
