from collections import Counter

import numpy as np
import pytest
import torch

from deepfake.data.crops import fit, window_crops
from deepfake.data.datamodule import padded_share
from deepfake.data.dataset import SharedFramesDataset, StoredCrops, WindowDataset, WindowSampler
from deepfake.data.distortions import ClipDistortion
from deepfake.faces.store import FaceStore
from deepfake.faces.video_faces import decode_jpeg
from deepfake.records import InputSpec, Window


@pytest.fixture
def crops(stored: FaceStore) -> StoredCrops:
    """Two videos with the same four frames, a real and a fake one."""
    spec = InputSpec(size=32, margin=1.3, mean=(0, 0, 0), std=(1, 1, 1), window=3)
    return StoredCrops(store=stored, keys=["a", "a"], labels=[0, 1], spec=spec)


WINDOWS = [Window(0, 0, 0, (0, 1, 2)), Window(0, 0, 1, (1, 2, 3)), Window(1, 2, 9, (3, 3, 3))]


def test_windows_that_share_frames_are_the_windows_one_by_one(crops: StoredCrops) -> None:
    shared = SharedFramesDataset(crops)[WINDOWS]
    alone = [WindowDataset(crops)[window] for window in WINDOWS]
    assert len(shared.frames) == 5  # four of the first video, one of the second
    for number, batch in enumerate(alone):
        assert torch.equal(shared.frames[shared.place[number]], batch.crops)
    for name in ("label", "video", "track", "start"):
        assert torch.equal(getattr(shared, name), torch.stack([getattr(batch, name) for batch in alone]))
    assert shared.label.tolist() == [0, 0, 1]


def test_frames_come_in_any_order_of_rows(crops: StoredCrops) -> None:
    shared = SharedFramesDataset(crops)[[Window(0, 0, 3, (3, 1, 3))]]
    expected = window_crops(crops.faces(0), (3, 1, 3), crops.spec).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(shared.frames[shared.place[0]].numpy(), expected)


def test_frames_keep_the_index_that_they_have_in_the_video(crops: StoredCrops) -> None:
    assert SharedFramesDataset(crops)[WINDOWS].frame.tolist() == [[0, 1, 2], [1, 2, 3], [3, 3, 3]]


def test_a_distortion_falls_on_the_whole_stored_clip_before_it_is_cropped(crops: StoredCrops) -> None:
    distortion = ClipDistortion(name="h264", level=5)
    faces = crops.faces(0)
    whole = distortion([decode_jpeg(jpeg) for jpeg in faces.jpegs(range(4))], video="a", track=0, clip=0)
    expected = [fit(crop, crops.spec, stored_margin=faces.settings.margin) for crop in whole]
    shared = SharedFramesDataset(crops, distortion)[[Window(0, 0, 1, (1, 3, 3))]]
    found = shared.frames[shared.place[0]].numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, np.stack([expected[row] for row in (1, 3, 3)]))


def test_a_distorted_frame_is_the_same_whatever_else_is_asked_for_and_whatever_its_label(
    crops: StoredCrops,
) -> None:
    dataset = SharedFramesDataset(crops, ClipDistortion(name="gaussian_noise", level=3))
    together = dataset[WINDOWS]
    for number in (2, 0, 1):
        alone = dataset[[WINDOWS[number]]]
        assert torch.equal(together.frames[together.place[number]], alone.frames[alone.place[0]])
    # rows 3 of the real and of the fake video, which hold the same pixels under the same key
    assert torch.equal(together.frames[together.place[1, 2]], together.frames[together.place[2, 0]])


def plan(epoch: int) -> list[Window]:
    return [Window(epoch, 0, n, (n,)) for n in range(11)]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_batches_of_several_processes_together_are_those_of_one(num_processes: int) -> None:
    samplers = [
        WindowSampler(plan, epoch=4, rank=rank, num_processes=num_processes) for rank in range(num_processes)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {11 // num_processes}
    for step in range(11 // num_processes):
        together = {share[step] for share in shares}
        assert together == set(plan(4)[step * num_processes : (step + 1) * num_processes])


def test_neighbours_that_stand_together_go_to_one_process() -> None:
    shares = [
        [window.start for window in WindowSampler(plan, rank=rank, num_processes=2, together=2)]
        for rank in (0, 1)
    ]
    assert shares == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_a_sampler_goes_to_the_epoch_it_is_told() -> None:
    sampler = WindowSampler(plan)
    assert [next(iter(sampler)).video, (sampler.set_epoch(3), next(iter(sampler)).video)[1]] == [0, 3]


@pytest.mark.parametrize(("num", "processes"), [(7, 2), (1, 3), (6, 3), (4, 1)])
def test_shares_for_scoring_are_equally_long_and_leave_nothing_out(num: int, processes: int) -> None:
    shares = [padded_share(range(num), rank=rank, num_processes=processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {-(-num // processes)}
    counts = Counter(item for share in shares for item in share)
    assert set(counts) == set(range(num))
    assert sum(counts.values()) == -(-num // processes) * processes
