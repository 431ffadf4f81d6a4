"""Target train: training as scripts/train.py does it beside loops without anything around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import cycle, repeat
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from deepfake.benchmarks.bench import Bench, Measured
from deepfake.benchmarks.race_of_loops import EpochBatches, Seconds, Training, race
from deepfake.benchmarks.store import filled
from deepfake.corpora.protocols import Protocol
from deepfake.data.datamodule import FaceDataModule
from deepfake.data.dataset import Batch, WindowDataset
from deepfake.errors import UserError
from deepfake.faces.fill import fill_store
from deepfake.faces.store import FaceStore
from deepfake.models.detector import Detector
from deepfake.models.efficientnet import EfficientNet
from deepfake.models.heads import LinearHead
from deepfake.parallel import Executor, num_cores
from deepfake.records import FAKE, REAL, InputSpec, Video
from deepfake.training.param_groups import Optimizers

Loaded = TypeVar("Loaded", bound=FaceDataModule)

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
) -> Measured:
    """The figures train/…, which BENCHMARKS.md explains.

    optimizers: of each detector. batches: an epoch, of training.batch_size windows; on a GPU of
    gpu_batch_size.
    """
    store = filled(
        bench, "store", bench.settings, with_labels(videos), Executor(num_workers=training.num_workers)
    )
    course = Course(training, store, with_labels(videos), batches, repeats, bench.folder, bench.device)
    loaded = course.from_store(detectors[MAIN], optimizers[MAIN])
    figures = {"train/throughput_over_bare_loop": median(throughput_ratios(loaded))}
    details: dict[str, Any] = {
        "batches": batches,
        "batch_size": training.batch_size,
        MAIN: described(loaded),
        "in_memory": {
            name: described(course.in_memory(detector, optimizers[name]))
            for name, detector in detectors.items()
        },
    }
    if bench.device.startswith("cuda"):
        on_gpu = replace(
            course, training=replace(training, batch_size=gpu_batch_size, num_workers=num_cores())
        )
        own, details["gpu"] = measure_synthetic(on_gpu, optimizers["efficientnet"], precision="bf16-mixed")
        figures |= own
    return Measured(figures, details)


@dataclass(frozen=True, slots=True)
class Course:
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
        return self.race(datamodule, detector, optimizer, plain_batches(datamodule, self.device))

    def in_memory(self, detector: Detector, optimizer: Optimizers) -> Seconds:
        """Both with one epoch's batches ready in memory, again and again: what is left is the loop."""
        datamodule = self.datamodule(HeldInMemory, detector.input)
        return self.race(datamodule, detector, optimizer, lambda _: datamodule.held)

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
        return self.race(
            datamodule, detector, optimizer, lambda _: repeat(batch, self.batches), precision=precision
        )

    def datamodule(self, kind: type[Loaded], spec: InputSpec) -> Loaded:
        """All videos in the training split, with enough windows for the batches of an epoch."""
        windows = self.batches * self.training.batch_size
        made = kind(
            protocol=lambda: Protocol(name="benchmark", videos=tuple(self.videos)),
            store=self.store,
            fill=partial(fill_store, self.store, main_face="size"),
            spec=spec,
            transform=self.training.transform,
            batch_size=self.training.batch_size,
            num_workers=self.training.num_workers,
            windows_per_video=-(-windows // len(self.videos)),
        )
        made.prepare_data()
        made.setup()
        return made

    def race(
        self,
        datamodule: FaceDataModule,
        detector: Detector,
        optimizer: Optimizers,
        batches: EpochBatches,
        *,
        precision: str = "32-true",
    ) -> Seconds:
        """Seconds of the epochs of both."""
        return race(
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
    course: Course,
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
        seconds = course.synthetic(detector, optimizer, precision=precision)
        figures[f"train/gpu_throughput_over_synthetic_{name}"] = median(throughput_ratios(seconds))
        details[name] = described(seconds)
    return {"train/gpu_throughput_over_synthetic": min(figures.values()), **figures}, details


def with_labels(videos: Sequence[Video]) -> list[Video]:
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


def described(seconds: Seconds) -> dict[str, Any]:
    """Plain values for details.json."""
    return {"throughput_ratio": throughput_ratios(seconds), "seconds_an_epoch": seconds}
