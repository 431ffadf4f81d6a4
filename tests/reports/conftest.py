import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """A run folder as jobs leave it: write_run("0_a", overrides=[…], losses=[…], test_auroc=…)."""

    def write(
        name: str,
        *,
        overrides: tuple[str, ...] = (),
        config: dict[str, Any] | None = None,
        choices: dict[str, str] | None = None,
        status: dict[str, Any] | None = None,
        monitor: str = "val/loss",
        values: tuple[float | str, ...] = (),
        test_auroc: float | None = None,
        protocol: str = "aaaa",
    ) -> Path:
        run = tmp_path / name
        (run / ".hydra").mkdir(parents=True)
        asked = {"overrides": {"task": list(overrides)}, "runtime": {"choices": choices or {}}}
        OmegaConf.save({"hydra": asked}, run / ".hydra" / "hydra.yaml")
        OmegaConf.save({"monitor": monitor, **(config or {})}, run / ".hydra" / "config.yaml")
        if status:
            (run / "status.json").write_text(json.dumps(status))
        if values:
            (run / "logs" / "version_0").mkdir(parents=True)
            lines = [f"{e},{e},{v},{0.5 + e / 100}" for e, v in enumerate(values)]
            header = f"epoch,step,{monitor},val/video_auroc2"
            (run / "logs" / "version_0" / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
        if test_auroc is not None:
            about = {"protocol": "demo/official", "protocol_hash": protocol}
            (run / "metrics.json").write_text(json.dumps({**about, "test/video_auroc": test_auroc}))
        return run

    return write
