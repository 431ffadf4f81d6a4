import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from deepfake.cli import CONF
from deepfake.config import NETS, build, to_plain
from deepfake.errors import UserError
from deepfake.faces.settings import FaceSettings

Composed = Callable[..., DictConfig]
GROUPS = (
    *("data", "model", "trainer", "logger", "augment", "schedule", "averaging", "experiment", "parallel"),
    "faces",
)
TASKS = sorted(path.stem for path in CONF.glob("*.yaml"))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem[0] != "_")


def test_every_task_has_a_script_and_a_config() -> None:
    scripts = {path.stem for path in (CONF.parent / "scripts").glob("*.py")}
    assert set(TASKS) <= scripts


@pytest.mark.parametrize(("group", "choice"), [(g, c) for g in GROUPS for c in choices(g)])
def test_every_yaml_composes_and_its_objects_can_be_built(
    composed: Composed, tmp_path: Path, group: str, choice: str
) -> None:
    cfg = composed("train", f"{group}={choice}", *([f"data.root={tmp_path}"] if group == "data" else []))
    if group == "trainer" and choice == "gpu" and not torch.cuda.is_available():
        cfg.trainer.accelerator, cfg.trainer.precision = "cpu", "32-true"
    if group == "trainer" and choice == "ddp":
        cfg.trainer.accelerator, cfg.trainer.devices = "cpu", 2
    build(cfg.model.net)
    optimizer = build(cfg.model.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    assert build(cfg.schedule)(optimizer, num_steps=100, mode="min")
    assert bool(build(cfg.averaging)) == (choice in ("ema", "swa"))
    build(cfg.augment)
    build(cfg.trainer, logger=False, default_root_dir=str(tmp_path))
    for part in cfg.data.get("corpora", {"only": cfg.data}).values():
        assert callable(build(part.corpus))
    FaceSettings.from_dict({k: v for k, v in to_plain(cfg.faces).items() if k != "overwrite"})
    for logger in cfg.logger.values():
        build(logger, save_dir=str(tmp_path))


@pytest.mark.parametrize("path", sorted((CONF / "hydra" / "launcher").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_launcher_s_keys_are_those_that_its_plugin_knows(path: Path) -> None:
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # fills the store
    ours = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(ours, dict)
    nodes = [node.node for node in ConfigStore.instance().repo["hydra"]["launcher"].values()]
    (schema,) = (node for node in nodes if node["_target_"] == ours["_target_"])
    assert set(ours) <= set(schema)


def test_the_two_sweeps_that_need_no_m_say_what_they_vary(composed: Composed) -> None:
    windows = composed("train", "experiment=window_length", "data=ffpp", "data.root=x", hydra=True)
    assert windows.hydra.mode.name == "MULTIRUN"
    assert windows.hydra.sweeper.params == {"model.window": "1,2,4,8,16"}
    assert (windows.faces.clip_frames, windows.data.store) == (16, "outputs/stores/ffpp_c23_clips16")
    for monitor, direction in (("val/loss", "minimize"), ("val/video_auroc", "maximize")):
        search = composed("train", "experiment=search", "study=s", f"monitor={monitor}", hydra=True)
        assert search.hydra.sweeper.direction == direction
        assert search.hydra.sweeper.storage == "sqlite:///outputs/train/s/study.db"
        assert search.hydra.sweeper.study_name == monitor
        for key in search.hydra.sweeper.params:
            assert OmegaConf.select(search, key) is not None


def test_a_store_suffix_reaches_the_stores_of_joint_corpora(composed: Composed) -> None:
    data = composed("train", "data=joint", "experiment=window_length").data
    assert data.corpora.ffpp.store == "outputs/stores/ffpp_c23_clips16"
    assert composed("train", "data=joint").data.corpora.ffpp.store == "outputs/stores/ffpp_c23"


@pytest.mark.parametrize("data", ["folder", "csv"])
def test_each_root_of_ones_own_videos_has_a_store_of_its_own(composed: Composed, data: str) -> None:
    roots = ["/a/films", "/b/films", "/b/films/", "/b/../b/films", "/b/films.csv"]
    stores = [composed("train", f"data={data}", f"data.root={root}").data.store for root in roots]
    joint = composed("train", "data=joint", f"data.corpora.{data}.root=/b/films").data.corpora[data].store
    assert len(set(stores)) == 3
    assert stores[1] == stores[2] == stores[3] == joint
    assert stores[0].startswith(f"outputs/stores/{data}-films-")


@pytest.mark.parametrize("path", sorted((CONF / "faces").glob("*/*.yaml")), ids=lambda p: p.stem)
def test_a_corpus_with_face_settings_of_its_own_gets_them_unless_told_otherwise(
    composed: Composed, path: Path
) -> None:
    own = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(own, dict)
    key, value = next(iter(own.items()))
    assert composed("train", f"data={path.stem}").faces[str(key)] == value
    assert composed("train", f"data={path.stem}", f"faces.{key}=5").faces[str(key)] == 5


def test_the_knobs_that_users_expect_reach_the_objects(composed: Composed) -> None:
    cfg = composed("train", "model=meso_lstm", "model.window=4", "trainer.max_epochs=3")
    assert build(cfg.model.net).input.window == 4
    assert build(cfg.trainer, logger=False).max_epochs == 3
    names = ("seed", "data.batch_size", "data.num_workers", "data.root", "data.store")
    missing = [name for name in names if OmegaConf.select(cfg, name, default="none such") == "none such"]
    assert missing == []


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "os.system"},
        {"_target_": "deepfake.x"},
        {"_target_": "deepfake.records.Video", "inner": [{"_target_": "builtins.eval"}]},
        {"_target_": "deepfake.models.mesonet.torch.hub.load"},
        {"_target_": "deepfake.cli.os.system"},
        {"_target_": "pytorch_lightning.trainer.trainer.os.getcwd"},
        {"_target_": "deepfake.cli.CONF"},
        {"_target_": "deepfake.records.InputSpec", "size": "${oc.env:HOME}"},
    ],
)
def test_only_objects_of_known_packages_are_built(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"_target_|env"):
        build(config)


@pytest.mark.parametrize(
    "target",
    [
        "timm.create_model",
        "torch.optim.AdamW",
        "pytorch_lightning.Trainer",
        "deepfake.cli.run",
        "deepfake.tasks.train.main",
        "deepfake.models.published.read_weights",
        "deepfake.records.Video",
    ],
)
def test_a_net_is_built_of_detectors_parts_alone(target: str) -> None:
    with pytest.raises(UserError, match=re.escape(target)):
        build({"_target_": target, "_partial_": True}, only=NETS)
    if "models" not in target and "tasks" not in target and "cli" not in target:
        assert callable(build({"_target_": target, "_partial_": True}))


def test_a_value_that_a_constructor_does_not_take_is_one_line(composed: Composed) -> None:
    with pytest.raises(UserError, match="image_size 250"):
        build(composed("train", "model.image_size=250").model.net)
    with pytest.raises(UserError, match=r"5000|4096"):
        build(composed("train", "model.window=5000").model.net)


def test_a_missing_value_is_named(composed: Composed) -> None:
    with pytest.raises(UserError, match=r"data\.root"):
        to_plain(composed("train", "data=folder"))


def test_the_two_demo_corpora_can_share_a_detector(composed: Callable[..., DictConfig]) -> None:
    one, other = (composed("train", f"data={name}") for name in ("demo", "demo_other"))
    assert one.faces == other.faces
    assert (one.data.root, one.data.store) != (other.data.root, other.data.store)


def test_a_refused_value_has_no_ring_of_causes() -> None:
    config = {"_target_": "deepfake.records.InputSpec", "size": 0, "margin": 1.3, "window": 1, "stride": 1}
    with pytest.raises(UserError) as raised:
        build({**config, "mean": [0.5] * 3, "std": [0.5] * 3})
    seen: list[BaseException] = []
    cause: BaseException | None = raised.value
    while cause is not None:
        assert cause not in seen
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
