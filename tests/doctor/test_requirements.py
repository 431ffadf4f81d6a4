import importlib.metadata

import pytest
from packaging.requirements import Requirement

from deepfake.doctor import requirements
from deepfake.doctor.requirements import extras, libraries, look_up

NUMPY = importlib.metadata.version("numpy")


def test_a_version_outside_the_range_and_a_missing_package_are_told() -> None:
    assert look_up(Requirement("numpy>=1")).wrong == ""
    assert look_up(Requirement("numpy<1")).wrong == f"{NUMPY} is outside <1"
    missing = look_up(Requirement("no-such-package>=2"))
    assert (missing.version, missing.wrong) == (None, "is not installed")


def test_what_is_asked_for_always_and_by_an_extra_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        "numpy<1",
        "rich>=1",
        "elsewhere; sys_platform == 'nowhere'",
        "no-such-package>=2; extra == 'app'",
        "rich>=1; extra == 'app'",
        "rich>=1; extra == 'hpo'",
    ]
    monkeypatch.setattr(requirements, "requires", lambda name: asked)
    assert [library.name for library in libraries()] == ["numpy", "rich"]
    mends = {extra.name: (extra.missing, extra.mend) for extra in extras()}
    assert mends["app"] == (("no-such-package is not installed",), "uv sync --extra app")
    assert mends["hpo"] == ((), "")


def test_without_an_installed_project_there_is_nothing_to_compare_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements, "PROJECT", "no-such-package")
    assert (libraries(), extras()) == ([], [])
