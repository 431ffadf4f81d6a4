import ast
from pathlib import Path

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
