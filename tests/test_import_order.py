import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deepfake"
ORDER = """
    errors records io config signals parallel video corpora faces data models scoring reports training
    prediction app tasks sweep cli
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_point_up_the_order(path: Path) -> None:
    own = stage_of(path)
    if own == "__init__":
        # named for type checkers, imported when asked for
        assert imported_stages(path) <= {"prediction", "scoring"}
        return
    for stage in imported_stages(path) - {own}:
        assert ORDER.index(stage) < ORDER.index(own), f"{path} imports deepfake.{stage}"
        assert not (own in APART and stage in APART), f"{path} imports deepfake.{stage}"
