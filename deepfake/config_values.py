"""What each key of the configuration may hold, checked before anything heavy is imported.

A key is found by the end of its dotted name: `data.num_workers` and `parallel.num_workers` share a rule.
Constructors check what depends on several values or on the data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, ListConfig, OmegaConf

from deepfake.errors import UserError
from deepfake.records import SPLITS
from deepfake.scoring.aggregate import TrackRule, WindowRule
from deepfake.scoring.metrics import RATES

SHOWN_CHARS = 60  # of a refused value


@dataclass(frozen=True)
class Rule:
    """allows: whether a value fits. text: what is allowed, after "must be".

    null: whether null fits too. trained: whether it does where a checkpoint says what it stands for.
    """

    allows: Callable[[Any], bool]
    text: str
    null: bool = False
    trained: bool = False

    def refusal(self, value: Any, *, checkpoint: bool) -> str:
        """What is wrong with a value, empty if nothing is."""
        null = self.null or (self.trained and checkpoint)
        if null if value is None else self.allows(value):
            return ""
        return f"must be {self.text}{' or null' if null else ''}"

    def or_null(self) -> Rule:
        """The same rule, which also allows null."""
        return replace(self, null=True)

    def or_trained(self) -> Rule:
        """The same rule, which also allows null beside a checkpoint."""
        return replace(self, trained=True)

    def or_word(self, *words: str | bool) -> Rule:
        """The same rule, which also allows some words."""
        shown = ", ".join(str(word).lower() for word in words)
        return replace(
            self,
            allows=lambda value: _among(value, words) or self.allows(value),
            text=f"{self.text}, or {shown}",
        )


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from low to high."""
    return Rule(
        lambda value: _is_whole(value) and low <= value <= (math.inf if high is None else high),
        f"a whole number from {low}" + ("" if high is None else f" to {high}"),
    )


def number(low: float, high: float | None = None, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number from low to high. above, below: low and high themselves are not allowed."""
    start = f"above {low:g}" if above else f"from {low:g}"
    end = "" if high is None else f" and below {high:g}" if below else f" to {high:g}"

    def allows(value: Any) -> bool:
        if not (_is_whole(value) or isinstance(value, float)) or not math.isfinite(value):
            return False
        top = math.inf if high is None else high
        return (value > low if above else value >= low) and (value < top if below else value <= top)

    return Rule(allows, f"a number {start}{end}")


def one_of(*words: str | bool) -> Rule:
    """One of some words."""
    return Rule(
        lambda value: _among(value, words), f"one of {', '.join(str(word).lower() for word in words)}"
    )


def list_of(item: Rule, *, length: int | None = None) -> Rule:
    """A list, with at least one item, each of which a rule allows."""

    def allows(value: Any) -> bool:
        fits = isinstance(value, list | tuple) and len(value) > 0 and (length is None or len(value) == length)
        return fits and all(item.allows(one) for one in value)

    return Rule(allows, f"a list{'' if length is None else f' of {length}'}, each {item.text}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(words: tuple[str | bool, ...]) -> str:
    return ", ".join(show(word) for word in words)


def _among(value: Any, words: tuple[str | bool, ...]) -> bool:
    return any(type(value) is type(word) and value == word for word in words)


SWITCH = Rule(lambda value: isinstance(value, bool), "true or false")
TEXT = Rule(lambda value: isinstance(value, str) and bool(value.strip()), "a text")
SHARE = number(0, 1)
COUNT = whole(1, 10**9)
MEMORY = Rule(
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d+)? ?([kMGT]i?)?B", value)),
    "a size such as 4GB",
).or_word("auto")
DEVICE = Rule(
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)),
    "auto, cpu or cuda",
)
ANYTHING = Rule(lambda value: True, "anything", null=True)
PATH = Rule(lambda value: isinstance(value, str) and bool(value), "a path")
PATHS = Rule(
    lambda value: PATH.allows(value) or list_of(PATH).allows(value), "a path or a list [a,b] of paths"
)

RULES: Mapping[str, Rule] = {
    # training
    "seed": whole(0, 2**32 - 1),
    "label_smoothing": number(0, 1, below=True),
    "layer_decay": number(0, 1, above=True),
    "freeze_backbone_epochs": whole(0, 10**6),
    "compile": SWITCH,
    "save_every_minutes": number(0, above=True).or_null(),
    "early_stopping_patience": whole(0, 10**6).or_null(),
    "monitor": TEXT,
    "model.window": whole(1, 4096),
    "model.stride": whole(1, 4096),
    "model.image_size": whole(1, 4096),
    "model.margin": number(1, 100),
    "model.mean": list_of(number(-(10**6), 10**6), length=3),
    "model.std": list_of(number(0, 10**6, above=True), length=3),
    "dropout": number(0, 1, below=True),
    "hidden_size": whole(1, 2**16),
    "channels_last": SWITCH,
    "pretrained": SWITCH,
    "grad_checkpointing": SWITCH,
    "model.name": TEXT,
    "optimizer.lr": number(0, 1000, above=True),
    "optimizer.weight_decay": number(0, 1000),
    "schedule.warmup": number(0, 1, below=True),
    "schedule.factor": number(0, 1, above=True, below=True),
    "schedule.patience": whole(0, 10**6),
    "schedule.min_lr": number(0, 1000),
    "averaging.decay": number(0, 1, below=True),
    "averaging.start_epoch": whole(0, 10**6),
    "trainer.max_epochs": whole(1, 10**6),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": Rule(
        lambda value: COUNT.allows(value) or value == -1 or list_of(whole(0)).allows(value),
        "a number of devices from 1, a list [0,1]",
    ).or_word("auto"),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": TEXT,
    "trainer.precision": one_of("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true"),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": number(0, above=True).or_null(),
    "trainer.deterministic": SWITCH.or_word("warn"),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": whole(0, 10**6),
    "trainer.use_distributed_sampler": SWITCH,
    "trainer.enable_model_summary": SWITCH,
    "trainer.enable_progress_bar": SWITCH,
    "trainer.sync_batchnorm": SWITCH,
    "trainer.limit_train_batches": number(0, above=True),
    "trainer.limit_val_batches": number(0),
    "trainer.limit_test_batches": number(0),
    # windows
    "batch_size": whole(1, 10**6),
    "data.num_workers": whole(0, 4096).or_null(),
    "parallel.num_workers": whole(0, 4096).or_null(),
    "num_workers": whole(1, 4096).or_null(),
    "data.prefetch_factor": whole(1, 10**4),
    "data.windows_per_video": whole(1, 10**6),
    "data.balance": list_of(TEXT).or_null(),
    "data.overfit_windows": whole(1, 10**6).or_null(),
    "eval_windows": whole(1, 10**6).or_null(),
    "eval_hop": whole(1, 10**6).or_null(),
    "data.min_track_share": SHARE,
    "augment.rate": SHARE,
    "augment.max_changes": COUNT,
    "augment.prob": SHARE,
    "augment.reals_only": SWITCH,
    "augment.ratios": list_of(SHARE),
    "augment.regions": list_of(TEXT).or_null(),
    "augment.names": list_of(TEXT).or_null(),
    "levels": list_of(whole(1, 5)),
    # corpora
    "name": TEXT,
    "root": PATH.or_null(),  # of a corpus that takes no part in data=joint
    "store_suffix": Rule(lambda value: isinstance(value, str), "a text"),
    "store": PATH,
    "cache": PATH,
    "protocol": TEXT,
    "split_seed": whole(0, 2**32 - 1),
    "fold": whole(0, 10**6),
    "num_folds": whole(3, 10**6),
    "identities": PATH.or_null(),
    "on_leak": one_of("warn", "error"),
    "main_face": one_of("mask", "partner", "size"),
    "num_identities": whole(1, 10**6),
    "compression": TEXT,
    "methods": list_of(TEXT),
    "variants": list_of(TEXT),
    "split_dir": PATH.or_null(),
    "ffpp_root": PATH.or_null(),
    # faces: null = as trained, where a checkpoint says it
    "faces.num_clips": COUNT.or_word("all").or_trained(),
    "faces.clip_frames": COUNT.or_trained(),
    "faces.at_key_frames": SWITCH.or_trained(),
    "faces.sample_fps": number(0, 10**6, above=True).or_null(),
    "faces.short_side_px": COUNT.or_trained(),
    "faces.min_face_px": COUNT.or_trained(),
    "faces.min_score": SHARE.or_trained(),
    "faces.detect_every": COUNT.or_trained(),
    "faces.min_agreement": SHARE.or_trained(),
    "faces.min_iou": SHARE.or_trained(),
    "faces.max_gap_frames": whole(0, 10**9).or_trained(),
    "faces.max_jump": number(0, above=True).or_trained(),
    "faces.cut_distance": SHARE.or_null(),
    "faces.look_near": number(0, 1, above=True).or_null(),
    "faces.look_far": SHARE.or_null(),
    "faces.smooth_frames": COUNT.or_trained(),
    "faces.margin": number(1, 100).or_trained(),
    "faces.max_crop_px": COUNT.or_trained(),
    "faces.jpeg_quality": whole(1, 100).or_trained(),
    "overwrite": SWITCH,
    # processes and limits
    "device": DEVICE,
    "parallel.address": TEXT.or_null(),
    "memory_limit": MEMORY.or_null(),
    "time_limit_s": number(0, above=True).or_null(),
    "limits.max_pixels": COUNT.or_null(),
    "limits.max_image_pixels": COUNT.or_null(),
    "limits.max_frames": COUNT.or_null(),
    "limits.max_seconds": number(0, above=True).or_null(),
    "limits.max_streams": COUNT.or_null(),
    "limits.max_bytes": whole(1).or_null(),
    # scores
    "window_rule": one_of(*get_args(WindowRule)).or_trained(),
    "track_rule": one_of(*get_args(TrackRule)).or_trained(),
    "threshold_rule": one_of("youden", "eer", "target_fpr"),
    "target_fpr": SHARE,
    "calibrate": SWITCH.or_trained(),
    "undetermined_margin": SHARE.or_trained(),
    "threshold": SHARE.or_null(),
    "resamples": whole(0, 10**6),
    "split": one_of(*SPLITS),
    # commands
    "checkpoint": PATHS.or_null(),
    "weights": PATH.or_null(),
    "resume": PATH.or_word(True, False).or_null(),
    "input": PATHS.or_null(),
    "output": PATH.or_null(),
    "runs": PATHS,
    "recursive": SWITCH,
    "pages": SWITCH,
    "annotate": SWITCH,
    "explain": one_of(False, True, "occlusion"),
    "distortions": list_of(TEXT).or_null(),
    "reference": TEXT.or_null(),
    "rate": one_of(*RATES),
    "format": one_of("onnx", "torch_export"),
    "tolerance": number(0),
    "repeats": whole(0, 10**6),
    "epoch": whole(0, 10**6),
    "num_cards": COUNT,
    "host": TEXT,
    "port": whole(0, 65535),
    "max_mb": number(0, above=True),
    "max_seconds": number(0, above=True),
    "max_pixels": COUNT,
    "max_waiting": COUNT,
    "keep_minutes": number(0, above=True),
    "keep": SWITCH,
    "keep_folder": PATH.or_null(),
    # checkpoints and loggers
    "callbacks.best.dirpath": PATH,
    "callbacks.best.filename": TEXT,
    "callbacks.every_epoch.dirpath": PATH,
    "callbacks.every_epoch.filename": TEXT,
    "callbacks.every_epoch.save_top_k": whole(-1, 10**6),
    "callbacks.every_epoch.save_last": SWITCH,
    "callbacks.every_epoch.auto_insert_metric_name": SWITCH,
    "callbacks.every_epoch.enable_version_counter": SWITCH,
    "callbacks.within_epochs.dirpath": PATH,
    "callbacks.within_epochs.filename": TEXT,
    "callbacks.learning_rate.logging_interval": one_of("step", "epoch").or_null(),
    "tensorboard.default_hp_metric": SWITCH,
    "wandb.project": TEXT,
    "wandb.entity": TEXT.or_null(),
    "wandb.name": TEXT.or_null(),
    "wandb.group": TEXT.or_null(),
    "wandb.tags": ANYTHING,
    "wandb.offline": SWITCH,
    "wandb.artifacts": SWITCH,
}


def check_values(cfg: DictConfig) -> None:
    """Raise UserError, which names key, value and what is allowed, for the first value that does not fit.

    Interpolations are not looked at, since the value that they stand for is.
    """
    for key, value in leaves(cfg):
        rule = rule_of(key)
        if rule is None or value == "???":
            continue
        if refusal := rule.refusal(value, checkpoint="checkpoint" in cfg):
            raise UserError(f"{key}={show(value)}: {refusal}")


EXISTING = {
    "checkpoint": "file",
    "weights": "file",
    "resume": "file",
    "runs": "folder",
    "data.root": "folder",
    "data.ffpp_root": "folder",
    "data.split_dir": "folder",
    "data.identities": "file",
}
"""Keys whose values are on the disk before the command begins."""


def check_paths(cfg: DictConfig) -> None:
    """Raise UserError for the first path of EXISTING that leads nowhere; the demo corpus makes its folder."""
    demo = str(OmegaConf.select(cfg, "data.corpus._target_", default="")).startswith("deepfake.corpora.demo.")
    for key, kind in EXISTING.items():
        value = None if demo and key == "data.root" else OmegaConf.select(cfg, key, throw_on_missing=False)
        for path in [value] if isinstance(value, str) else list(value or []) if key == "runs" else []:
            if not Path(path).expanduser().exists():
                sort = "file" if Path(path).suffix.lower() == ".csv" else kind
                hint = "; docs/datasets.md shows what belongs in it" if key == "data.root" else ""
                raise UserError(f"{key}={path}: no such {sort}{hint}")


def explain_refusal(text: str, keys: Callable[[], list[str]]) -> str:
    """One line for what Hydra says of a command line that it refuses; keys: all that the command has."""
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"{found[1]}: there is no such key{did_you_mean(found[1], keys())}"
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        choices = [line.strip() for line in text.splitlines() if line.startswith("\t")]
        choices = [choice for choice in choices if not choice.startswith(("_", "provider="))]
        group, choice = found.groups()
        return (
            f"{group}={choice}: there is no such choice{did_you_mean(choice, choices)} ({', '.join(choices)})"
        )
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "hydra.cc" not in line)


def did_you_mean(given: str, known: list[str]) -> str:
    """The nearest of the known names as a question, empty if none is near."""
    near = get_close_matches(given, known, n=1, cutoff=0.7)
    last = given.rpartition(".")[2]
    near = near or [name for name in known if name.rpartition(".")[2] == last][:2]
    return f"; did you mean {' or '.join(near)}?" if near else "; --help lists them all"


def rule_of(key: str) -> Rule | None:
    """The rule of a dotted key: that of the longest end of its name that has one."""
    parts = key.split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts)))
    return next((RULES[end] for end in ends if end in RULES), None)


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values of a config, lists whole, without interpolations."""
    for name in node:
        child, key = node._get_node(name), f"{prefix}{name}"
        if child._is_interpolation():
            continue
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing()):
            yield from leaves(child, f"{key}.")
        elif isinstance(child, ListConfig):
            yield key, child if child._is_none() or child._is_missing() else OmegaConf.to_container(child)
        else:
            yield key, child._value()


def show(value: Any) -> str:
    """A value as it is typed, shortened."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
