"""What decides how faces are cut is checked, and survives files."""

import pytest

from deepfake.errors import UserError
from deepfake.faces.settings import SAMPLING, TRACKING, FaceSettings


def test_settings_of_another_version_are_refused_by_name() -> None:
    values = FaceSettings().to_dict()
    for other, name in ((values | {"zoom": 1}, "zoom"), ({**values, "margin": 0}, "margin")):
        with pytest.raises(UserError, match=name):
            FaceSettings.from_dict(other)
    del values["look_near"]
    with pytest.raises(UserError, match="look_near"):
        FaceSettings.from_dict(values)


def test_differences_name_each_value_that_differs() -> None:
    ours = FaceSettings(cut_distance=None, look_near=None, look_far=None)
    assert ours.differences(FaceSettings()) == (
        "cut_distance: None != 0.2, look_near: None != 0.25, look_far: None != 0.18"
    )


@pytest.mark.parametrize("settings", [FaceSettings(), FaceSettings(num_clips=None)])
def test_settings_survive_being_written_down(settings: FaceSettings) -> None:
    assert FaceSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"look_near": None}, "set both, or both to null"),
        ({"look_far": None}, "set both, or both to null"),
        ({"look_near": None, "look_far": None}, "cut_distance: needs"),
        ({"look_near": 1.5}, "look_near=1.5: must be 0 to 1"),
        ({"cut_distance": -1}, "cut_distance=-1: must be 0 to 1"),
        ({"look_near": 0}, "look_near=0: must be above 0"),
        ({"max_jump": 0}, "max_jump=0: must be above 0"),
        ({"num_clips": 0}, "num_clips=0: must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, float | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FaceSettings(**values)  # type: ignore[arg-type]


def test_what_does_not_change_a_crop_is_a_setting() -> None:
    assert {*SAMPLING, *TRACKING} < set(FaceSettings().to_dict())
