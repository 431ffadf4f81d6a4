"""Target train: training as scripts/train.py does it beside a bare loop, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import cycle, repeat
from pathlib import Path
from statistics import median
from time import perf_counter
from types import MappingProxyType
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from benchmarks.bench import Bench, BenchmarkResult
from benchmarks.store import extract_store
from deepfake.corpora.protocols import Protocol
from deepfake.data.augment import WindowTransform
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.dataset import Batch, WindowDataset
from deepfake.errors import UserError
from deepfake.faces.extract_corpus import extract_corpus
from deepfake.faces.store import FaceStore
from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LinearHead
from deepfake.parallel.pool import Executor, num_cores
from deepfake.records import FAKE, REAL, InputSpec, Video
from deepfake.training.checkpoint import Checkpoint
from deepfake.training.module import DetectorModule
from deepfake.training.optim import Optimizers, Schedule, make_optimizer

DataModule = TypeVar("DataModule", bound=FaceDataModule)

MAIN = "meso"
GPU_SIZES = {"efficientnet_b0": 224, "efficientnet_b4": 380}


def measure(
    bench: Bench,
    *,
    videos: Sequence[Video],
    detectors: Mapping[str, Detector],
    optimizers: Mapping[str, Optimizers],
    training: Training,
    batches: int,
    gpu_batch_size: int,
    repeats: int,
) -> BenchmarkResult:
    """The figures train/…, which BENCHMARKS.md explains.

    optimizers: of each detector. batches: an epoch, of training.batch_size windows; on a GPU of
    gpu_batch_size.
    """
    store = extract_store(
        bench, "store", bench.settings, label_alternately(videos), Executor(num_workers=training.num_workers)
    )
    comparison = TrainingComparison(
        training, store, label_alternately(videos), batches, repeats, bench.folder, bench.device
    )
    loaded = comparison.from_store(detectors[MAIN], optimizers[MAIN])
    figures = {"train/throughput_over_bare_loop": median(throughput_ratios(loaded))}
    details: dict[str, Any] = {
        "batches": batches,
        "batch_size": training.batch_size,
        MAIN: epoch_details(loaded),
        "in_memory": {
            name: epoch_details(comparison.in_memory(detector, optimizers[name]))
            for name, detector in detectors.items()
        },
    }
    if bench.device.startswith("cuda"):
        on_gpu = replace(
            comparison, training=replace(training, batch_size=gpu_batch_size, num_workers=num_cores())
        )
        own, details["gpu"] = measure_synthetic(on_gpu, optimizers["efficientnet"], precision="bf16-mixed")
        figures |= own
    return BenchmarkResult(figures, details)


@dataclass(frozen=True, slots=True)
class TrainingComparison:
    """What all races of this target share; folder: below which trainings write."""

    training: Training
    store: FaceStore
    videos: Sequence[Video]
    batches: int
    rounds: int
    folder: Path
    device: str

    def from_store(self, detector: Detector, optimizer: Optimizers) -> Seconds:
        """Ours beside a bare loop that reads the same windows by a plain DataLoader."""
        datamodule = self.datamodule(FaceDataModule, detector.input)
        return self.compare_speed(datamodule, detector, optimizer, plain_batches(datamodule, self.device))

    def in_memory(self, detector: Detector, optimizer: Optimizers) -> Seconds:
        """Both with one epoch's batches ready in memory, again and again: what is left is the loop."""
        datamodule = self.datamodule(HeldInMemory, detector.input)
        return self.compare_speed(datamodule, detector, optimizer, lambda _: datamodule.held)

    def synthetic(self, detector: Detector, optimizer: Optimizers, *, precision: str) -> Seconds:
        """Ours, from the store, beside a bare loop over one batch that lies on the device."""
        size, spec = self.training.batch_size, detector.input
        crops = torch.randint(
            0, 256, (size, spec.window, 3, spec.size, spec.size), dtype=torch.uint8, device=self.device
        )
        label = (torch.arange(size, device=self.device) % 2).float()
        key = torch.arange(size, device=self.device)
        batch = Batch(crops, label, key, key, key)
        datamodule = self.datamodule(FaceDataModule, spec)
        return self.compare_speed(
            datamodule, detector, optimizer, lambda _: repeat(batch, self.batches), precision=precision
        )

    def datamodule(self, kind: type[DataModule], spec: InputSpec) -> DataModule:
        """All videos in the training split, with enough windows for the batches of an epoch."""
        windows = self.batches * self.training.batch_size
        made = kind(
            protocol=lambda: Protocol(name="benchmark", videos=tuple(self.videos)),
            store=self.store,
            extract=partial(extract_corpus, self.store, main_face="size"),
            spec=spec,
            transform=self.training.transform,
            batch_size=self.training.batch_size,
            num_workers=self.training.num_workers,
            windows_per_video=-(-windows // len(self.videos)),
        )
        made.prepare_data()
        made.setup()
        return made

    def compare_speed(
        self,
        datamodule: FaceDataModule,
        detector: Detector,
        optimizer: Optimizers,
        batches: EpochBatches,
        *,
        precision: str = "32-true",
    ) -> Seconds:
        """Seconds of the epochs of both."""
        return compare_speed(
            self.training,
            datamodule,
            detector,
            optimizer,
            batches=batches,
            rounds=self.rounds,
            device=self.device,
            precision=precision,
            folder=self.folder,
        )


class HeldInMemory(FaceDataModule):
    """Gives the batches of the first epoch in every epoch, ready."""

    @cached_property
    def held(self) -> list[Batch]:
        """These batches."""
        return list(super().train_dataloader())

    def train_dataloader(self) -> DataLoader[Batch]:
        """These batches; to Lightning a list would be several loaders."""
        return DataLoader(self.held, batch_size=None)  # type: ignore[arg-type]


def measure_synthetic(
    comparison: TrainingComparison,
    optimizer: Optimizers,
    *,
    precision: str,
    sizes: Mapping[str, int] = MappingProxyType(GPU_SIZES),
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures and details of EfficientNets in channels-last memory; sizes: names and pixels."""
    figures, details = {}, {}
    for name, size in sizes.items():
        spec = InputSpec(size=size, margin=1.3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        detector = Detector(
            EfficientNet(name=name), partial(LinearHead, dropout=0.2), spec, channels_last=True
        )
        seconds = comparison.synthetic(detector, optimizer, precision=precision)
        figures[f"train/gpu_throughput_over_synthetic_{name}"] = median(throughput_ratios(seconds))
        details[name] = epoch_details(seconds)
    return {"train/gpu_throughput_over_synthetic": min(figures.values()), **figures}, details


def label_alternately(videos: Sequence[Video]) -> list[Video]:
    """The videos as a training split, every other one called fake; raises UserError if there is one only."""
    if len(videos) < 2:
        raise UserError("num_films=1: training needs two videos or more; give some with input=…")
    return [
        replace(video, split="train", label=label, method="fake" if label == FAKE else "real")
        for video, label in zip(videos, cycle((REAL, FAKE)), strict=False)
    ]


def plain_batches(datamodule: FaceDataModule, device: str) -> EpochBatches:
    """The batches that the datamodule would give, by torch's own DataLoader with the same settings."""
    sampler = datamodule.train_sampler()
    dataset = WindowDataset(datamodule.stored_crops(), datamodule.transform)
    settings = datamodule.loading() | {"pin_memory": device.startswith("cuda")}
    loader = DataLoader(dataset, datamodule.batch_size, sampler=sampler, **settings)

    def batches(epoch: int) -> Iterable[Batch]:
        sampler.set_epoch(epoch)
        return loader

    return batches


def throughput_ratios(seconds: Seconds) -> list[float]:
    """Windows a second of ours over those of the other, round by round."""
    return [other / ours for ours, other in zip(seconds["ours"], seconds["other"], strict=True)]


def epoch_details(seconds: Seconds) -> dict[str, Any]:
    """Plain values for details.json."""
    return {"throughput_ratio": throughput_ratios(seconds), "seconds_an_epoch": seconds}


EpochBatches = Callable[[int], Iterable[Batch]]
"""Number of an epoch -> its batches."""

Seconds = dict[str, list[float]]
"""Of an epoch, round by round: of ours and of the other."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What scripts/train.py makes of its config: trainer, loggers and callbacks wait for their folder.

    callbacks: by name, of a run folder. clip: the trainer's largest norm of
    the gradient. batch_size: windows.
    """

    trainer: Callable[..., pl.Trainer]
    loggers: Mapping[str, Callable[..., Logger]]
    callbacks: Callable[..., Mapping[str, Callback]]
    schedule: Schedule
    transform: WindowTransform
    clip: float
    batch_size: int
    num_workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A training loop without anything around it.

    clip: largest norm of the gradient. precision: as Lightning names it; of the mixed ones bf16-mixed alone.
    """

    detector: Detector
    optimizer: Optimizer
    batches: EpochBatches
    clip: float
    device: str
    precision: str = "32-true"

    def train(self, epoch: int) -> None:
        """One epoch."""
        params = list(self.detector.parameters())
        mixed = torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bf16-mixed"
        )
        for batch in self.batches(epoch):
            crops = batch.crops.to(self.device, non_blocking=True)
            label = batch.label.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with mixed:
                loss = binary_cross_entropy_with_logits(self.detector(crops), label)
            loss.backward()
            clip_grad_norm_(params, self.clip)
            self.optimizer.step()


class TakeTurns(Callback):
    """Gives another loop its turn before each epoch of a training; seconds of both, epoch by epoch.

    Ours are all between two of those turns: the batches, the callbacks, the next epoch's plan.
    """

    def __init__(self, other: Callable[[int], None], *, device: str) -> None:
        self.other = other
        self.device = device
        self.ours_s: list[float] = []
        self.other_s: list[float] = []
        self.start = 0.0  # of our turn

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End our turn, if there was one, and run the other's."""
        if trainer.current_epoch:
            self.ours_s.append(self.now() - self.start)
        start = self.now()
        self.other(trainer.current_epoch)
        self.start = self.now()
        self.other_s.append(self.start - start)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End our last turn."""
        self.ours_s.append(self.now() - self.start)

    def now(self) -> float:
        """Seconds, when all that was asked of a GPU is done."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return perf_counter()


def compare_speed(
    training: Training,
    datamodule: FaceDataModule,
    detector: Detector,
    optimizer: Optimizers,
    *,
    batches: EpochBatches,
    rounds: int,
    device: str,
    folder: Path,
    precision: str = "32-true",
) -> Seconds:
    """Seconds of an epoch of ours and of a bare loop over these batches.

    Both start from copies of the detector. A first round, in which workers start, is not counted.
    folder: where ours writes.
    """
    bare = deepcopy(detector).to(device).train()
    loop = Loop(
        detector=bare,
        optimizer=make_optimizer(bare, optimizer),
        batches=batches,
        clip=training.clip,
        device=device,
        precision=precision,
    )
    turns = TakeTurns(loop.train, device=device)
    callbacks = training.callbacks(run_dir=folder).values()
    trainer = training.trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        precision=precision,
        max_epochs=rounds + 1,
        limit_val_batches=0,
        default_root_dir=str(folder),
        logger=[logger(save_dir=str(folder)) for logger in training.loggers.values()],
        callbacks=[turns, *callbacks],
    )
    checkpoint = Checkpoint(net={}, faces=datamodule.store.settings)
    module = DetectorModule(deepcopy(detector), checkpoint, optimizer=optimizer, schedule=training.schedule)
    trainer.fit(module, datamodule=datamodule)
    return {"ours": turns.ours_s[1:], "other": turns.other_s[1:]}
