"""The loaders of training, validation and test, from a protocol and its face store."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from deepfake.corpora.protocols import Protocol, stamp
from deepfake.data.augment import WindowTransform
from deepfake.data.dataset import (
    Batch,
    SharedFrames,
    SharedFramesDataset,
    StoredCrops,
    WindowDataset,
    WindowSampler,
)
from deepfake.data.distortions import ClipDistortion
from deepfake.data.windows import (
    EvalSettings,
    TrackFrames,
    batches_of_frames,
    pairs,
    scored_windows,
    track_frames,
    train_windows,
)
from deepfake.errors import UserError
from deepfake.faces.extract_corpus import CorpusExtraction
from deepfake.faces.store import FaceStore
from deepfake.parallel.pool import num_cores, trim_freed_memory
from deepfake.records import FAKE, REAL, SPLITS, InputSpec, Video, Window

log = logging.getLogger(__name__)
Item = TypeVar("Item")


@dataclass(kw_only=True, eq=False, repr=False)
class FaceDataModule(pl.LightningDataModule):
    """Windows of the faces of a protocol's videos.

    protocol: lists and splits the videos. extract: fills the face store with them. windows_per_video: drawn
    anew in each training epoch, from the video's main face. balance: columns of the manifest whose values are
    drawn equally often, each within the one before. overfit_windows: train on this many windows only, again
    and again. evaluation: which windows val and test score. batch_size: windows per process and training
    step; a scoring step has as many frames. prefetch_factor: batches that each loader process prepares in
    advance. distortion: applied in validation and test.
    """

    protocol: Callable[[], Protocol]
    store: FaceStore
    extract: Callable[[Sequence[Video]], CorpusExtraction]
    spec: InputSpec
    transform: WindowTransform | None = None
    batch_size: int = 32
    num_workers: int | None = None
    prefetch_factor: int = 2
    windows_per_video: int = 4
    balance: Sequence[str] = ("label", "corpus", "method")
    overfit_windows: int | None = None
    evaluation: EvalSettings = EvalSettings()
    seed: int = 0
    test_split: str = "test"
    distortion: ClipDistortion | None = None

    def __post_init__(self) -> None:
        super().__init__()
        check_fit(self.spec, self.store)
        counts = {
            name: getattr(self, name) for name in ("batch_size", "windows_per_video", "overfit_windows")
        }
        counts |= {"eval_windows": self.evaluation.max_windows, "eval_hop": self.evaluation.hop}
        for name, count in counts.items():
            if count is not None and (not isinstance(count, int) or count < 1):
                raise UserError(f"data.{name}={count}: must be a whole number of at least 1")
        self.prepared: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
        self.manifest: list[dict[str, Any]] = []
        self.stamp: dict[str, Any] = {}
        self.tracks: dict[int, list[TrackFrames]] = {}

    def prepare_data(self) -> None:
        """List the videos and extract missing faces; Lightning calls this before each stage."""
        if self.prepared:
            return
        protocol = self.protocol()
        self.prepared = self.extract(protocol.videos).rows, stamp(protocol)

    def setup(self, stage: str | None = None) -> None:
        """Take the manifest from the process that prepared the data, and locate each track's crops."""
        if self.manifest:
            return
        prepared = self.trainer.strategy.broadcast(self.prepared) if self.trainer else self.prepared
        assert prepared is not None, "prepare_data comes before setup"
        self.manifest, self.stamp = prepared
        self.tracks = {
            video: track_frames(self.store.read(row["video"]), video=video)
            for video, row in enumerate(self.manifest)
            if not row["reason"]
        }
        sizes = Counter((row["split"], row["label"]) for row in self.manifest)
        log.info("; ".join(f"{s}: {sizes[s, REAL]} real, {sizes[s, FAKE]} fake videos" for s in SPLITS))

    def split(self, name: str) -> list[int]:
        """Manifest rows of the videos of a split, with or without faces."""
        return [video for video, row in enumerate(self.manifest) if row["split"] == name]

    @property
    def reals_only(self) -> bool:
        """Whether the transform makes its own fakes."""
        return self.transform is not None and self.transform.reals_only

    def train_plan(self, epoch: int) -> list[Window]:
        """The windows of a training epoch; pairs from real videos only if the transform makes its own fakes.

        Raises UserError if a required class has no faces.
        """
        videos = [video for video in self.split("train") if self.manifest[video]["main"] is not None]
        labels = [self.manifest[video]["label"] for video in videos]
        reals_only = self.reals_only
        if not ({REAL} if reals_only else {REAL, FAKE}) <= set(labels):
            raise UserError(
                f"the training split holds {labels.count(REAL)} real and {labels.count(FAKE)} fake videos "
                f"with faces; it needs {'real ones' if reals_only else 'both'}: check data.root, the "
                "selected methods and the split"
            )
        if reals_only:
            videos = [video for video in videos if self.manifest[video]["label"] == REAL]
        windows = train_windows(
            [self.tracks[video][self.manifest[video]["main"]] for video in videos],
            [tuple(self.manifest[video][column] for column in self.balance) for video in videos],
            self.spec,
            windows_per_video=self.windows_per_video,
            seed=self.seed,
            epoch=epoch if self.overfit_windows is None else 0,
        )
        if reals_only:
            windows = pairs(windows)
        if self.overfit_windows is None:
            return windows
        return list(islice(cycle(windows[: self.overfit_windows]), len(windows)))

    @property
    def num_train_batches(self) -> int:
        """Batches per process and epoch."""
        return -(-len(self.train_sampler()) // self.batch_size)

    def train_dataloader(self) -> StatefulDataLoader[Batch]:
        """Loader of new balanced windows in each epoch; its state is the position in the epoch."""
        dataset = WindowDataset(self.stored_crops(), self.transform)
        return StatefulDataLoader(dataset, self.batch_size, sampler=self.train_sampler(), **self.loading())

    def train_sampler(self) -> WindowSampler:
        """This process's share of the training windows; raises UserError if batches would split pairs."""
        trainer = self.trainer
        together = 2 if self.reals_only else 1
        if self.batch_size % together:
            raise UserError(
                f"data.batch_size={self.batch_size}: must be even, since training uses pairs of a real "
                "window and the fake made of it"
            )
        # Lightning requests batches of a resumed training before it sets the epoch
        progress: Any = trainer.fit_loop.epoch_progress.current if trainer else None
        return WindowSampler(
            self.train_plan,
            epoch=progress.processed if progress else 0,
            rank=trainer.global_rank if trainer else 0,
            num_processes=trainer.world_size if trainer else 1,
            together=together,
        )

    def val_dataloader(self) -> DataLoader[SharedFrames]:
        """Loader of the same windows each time."""
        return self._scoring_loader("val")

    def test_dataloader(self) -> DataLoader[SharedFrames]:
        """Loader of the same windows each time, of the split test_split."""
        return self._scoring_loader(self.test_split)

    def _scoring_loader(self, split: str) -> DataLoader[SharedFrames]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        windows = [
            window
            for video in self.split(split)
            for window in scored_windows(self.tracks.get(video, []), self.spec, self.evaluation)
        ]
        batches = batches_of_frames(windows, max_frames=self.batch_size * self.spec.window)
        dataset = SharedFramesDataset(self.stored_crops(), self.distortion)
        own = padded_share(batches, rank=rank, num_processes=world)
        return ScoringLoader(dataset, batch_size=None, sampler=own, **self.loading())

    def stored_crops(self) -> StoredCrops:
        """The crops of all videos in the manifest."""
        keys, labels = ([row[name] for row in self.manifest] for name in ("video", "label"))
        return StoredCrops(store=self.store, keys=keys, labels=labels, spec=self.spec)

    def loading(self) -> dict[str, Any]:
        """Arguments of all loaders."""
        processes = self.trainer.num_devices if self.trainer else 1
        share = min(8, max(1, num_cores() // processes))
        num_workers = share if self.num_workers is None else self.num_workers
        return {
            "num_workers": num_workers,
            "persistent_workers": num_workers > 0,
            "prefetch_factor": self.prefetch_factor if num_workers else None,
            "pin_memory": self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator),
        }


class ScoringLoader(DataLoader[SharedFrames]):
    """A loader whose processes are forked without the memory that training has freed."""

    def __iter__(self) -> Any:
        """The batches."""
        trim_freed_memory()
        return super().__iter__()


def padded_share(items: Sequence[Item], *, rank: int, num_processes: int) -> list[Item]:
    """Every num_processes-th item, starting at rank; the first ones again where shares would be shorter.

    All processes must take the same number of scoring steps; what is scored twice counts once.
    """
    total = -(-len(items) // num_processes) * num_processes
    return [items[place % len(items)] for place in range(rank, total, num_processes)]


def check_fit(spec: InputSpec, store: FaceStore) -> None:
    """Raise UserError if the stored crops are too narrow or their clips too short for the model."""
    settings = store.settings
    if spec.span > settings.clip_frames:
        raise UserError(
            f"model.window={spec.window} (stride {spec.stride}) needs clips of {spec.span} frames, but "
            f"faces.clip_frames={settings.clip_frames}: add faces.clip_frames={spec.span} and another "
            "data.store"
        )
    if spec.margin > settings.margin:
        raise UserError(
            f"model.margin={spec.margin} is wider than the stored crops (faces.margin={settings.margin})"
        )
