"""Corpus and store to the loaders of training, validation and test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from deepfake.corpora.protocols import Protocol, stamp
from deepfake.data.dataset import Batch, WindowDataset, WindowSampler
from deepfake.data.transforms import WindowTransform
from deepfake.data.windows import TrackFrames, eval_windows, scored_tracks, track_frames, train_windows
from deepfake.errors import UserError
from deepfake.faces.fill import Filled
from deepfake.faces.store import FaceStore
from deepfake.parallel import num_cores
from deepfake.records import FAKE, REAL, SPLITS, InputSpec, Video, Window

log = logging.getLogger(__name__)


class FaceDataModule(pl.LightningDataModule):
    """Windows of a corpus's faces, split as the corpus says.

    protocol: lists and splits the corpus (and makes what it lacks). fill: puts its faces into the store.
    windows_per_video: drawn anew each training epoch, from the video's main face. balance: columns of the
    manifest whose values are drawn equally often, each within the one before. eval_windows: at most so many a
    track, always the same. min_track_share: in val and test every track of at least this share of its video's
    longest one is scored.
    """

    def __init__(
        self,
        *,
        protocol: Callable[[], Protocol],
        store: FaceStore,
        fill: Callable[[Sequence[Video]], Filled],
        spec: InputSpec,
        transform: WindowTransform | None = None,
        batch_size: int = 32,
        num_workers: int | None = None,
        windows_per_video: int = 4,
        balance: Sequence[str] = ("label", "corpus", "method"),
        eval_windows: int = 32,
        min_track_share: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_fit(spec, store)
        self.make_protocol = protocol
        self.store = store
        self.fill = fill
        self.spec = spec
        self.transform = transform
        self.batch_size = batch_size
        self.num_workers = min(8, num_cores()) if num_workers is None else num_workers
        self.windows_per_video = windows_per_video
        self.balance = list(balance)
        self.eval_windows = eval_windows
        self.min_track_share = min_track_share
        self.seed = seed
        self.test_split = "test"
        self.prepared: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
        self.manifest: list[dict[str, Any]] = []
        self.stamp: dict[str, Any] = {}
        self.tracks: dict[int, list[TrackFrames]] = {}

    def prepare_data(self) -> None:
        """List and extract what the store lacks; Lightning calls this in one process, before each stage."""
        if self.prepared:
            return
        protocol = self.make_protocol()
        self.prepared = self.fill(protocol.videos).rows, stamp(protocol)

    def setup(self, stage: str | None = None) -> None:
        """Take the manifest of the preparing process, and read where each track's crops lie."""
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
        counts = [(name, *count_by_class(self.manifest, name)) for name in SPLITS]
        log.info("; ".join(f"{name}: {real} real, {fake} fake videos" for name, real, fake in counts))

    def split(self, name: str) -> list[int]:
        """Manifest rows of the videos of a split, with or without faces."""
        return [video for video, row in enumerate(self.manifest) if row["split"] == name]

    def train_plan(self, epoch: int) -> list[Window]:
        """The windows of a training epoch, of real videos alone if the transform makes its own fakes.

        Raises UserError if a class that is needed has no faces.
        """
        videos = [video for video in self.split("train") if self.manifest[video]["main"] is not None]
        labels = [self.manifest[video]["label"] for video in videos]
        reals_only = self.transform is not None and self.transform.reals_only
        if not ({REAL} if reals_only else {REAL, FAKE}) <= set(labels):
            raise UserError(
                f"the training split holds {labels.count(REAL)} real and {labels.count(FAKE)} fake videos "
                f"with faces; it needs {'real ones' if reals_only else 'both'}: check data.root, the "
                "selected methods and the split"
            )
        if reals_only:
            videos = [video for video in videos if self.manifest[video]["label"] == REAL]
        return train_windows(
            [self.tracks[video][self.manifest[video]["main"]] for video in videos],
            [tuple(self.manifest[video][column] for column in self.balance) for video in videos],
            self.spec,
            windows_per_video=self.windows_per_video,
            seed=self.seed,
            epoch=epoch,
        )

    def eval_plan(self, split: str) -> list[Window]:
        """The windows by which a split's videos are scored."""
        return [
            window
            for video in self.split(split)
            for track in scored_tracks(self.tracks.get(video, []), min_share=self.min_track_share)
            for window in eval_windows(track, self.spec, max_windows=self.eval_windows)
        ]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Fresh balanced windows each epoch."""
        return self._loader(self.train_plan, self.transform, even=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same windows each time."""
        return self._loader(lambda _: self.eval_plan("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same windows each time, of the split named test_split."""
        return self._loader(lambda _: self.eval_plan(self.test_split))

    def _loader(
        self,
        plan: Callable[[int], list[Window]],
        transform: WindowTransform | None = None,
        *,
        even: bool = False,
    ) -> DataLoader[Batch]:
        world = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        dataset = WindowDataset(
            self.store,
            [row["video"] for row in self.manifest],
            [row["label"] for row in self.manifest],
            self.spec,
            transform,
        )
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=WindowSampler(plan, rank=rank, num_processes=world, even=even),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.trainer is not None
            and self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
        )


def check_fit(spec: InputSpec, store: FaceStore) -> None:
    """Raise UserError where the stored crops cannot give what the model wants."""
    settings = store.settings
    if spec.span > settings.clip_frames:
        raise UserError(
            f"model.window={spec.window} (stride {spec.stride}) needs clips of {spec.span} frames, but "
            f"faces.clip_frames={settings.clip_frames}: add faces.clip_frames={spec.span} and a data.store "
            "of its own"
        )
    if spec.margin > settings.margin:
        raise UserError(
            f"model.margin={spec.margin} is wider than the stored crops (faces.margin={settings.margin})"
        )


def count_by_class(manifest: Sequence[dict[str, Any]], split: str) -> tuple[int, int]:
    """(real, fake) videos of a split."""
    labels = [row["label"] for row in manifest if row["split"] == split]
    return labels.count(0), labels.count(1)
