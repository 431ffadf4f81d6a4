"""The machine as this process sees it: processors, memory, GPUs, disks, limits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
from dask.system import cpu_count
from distributed.system import memory_limit

GB = 1e9
SHARED_MEMORY = Path("/dev/shm")


def processor() -> dict[str, Any]:
    """Model, cores of the machine and those that this process may use, memory in bytes likewise.

    A container's own limits (control groups) and the cores a process is bound to are counted.
    """
    return {
        "model": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "usable_memory_bytes": memory_limit(),
        "free_memory_bytes": psutil.virtual_memory().available,
    }


def cpu_model() -> str:
    """The processor's name as its maker calls it, else its architecture."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return told or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def accelerators() -> dict[str, Any]:
    """What torch was built for and which GPUs it finds."""
    import torch

    cuda = torch.version.cuda
    places = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    gpus = [torch.cuda.get_device_properties(place) for place in places]
    return {
        "torch_cuda": cuda,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
        "gpus": [
            {
                "name": gpu.name,
                "memory_bytes": gpu.total_memory,
                "capability": f"{gpu.major}.{gpu.minor}",
            }
            for gpu in gpus
        ],
        "mps": torch.backends.mps.is_available(),
    }


def disks(outputs: Path) -> dict[str, dict[str, int]]:
    """Total and free bytes of the disks where results and temporary files go, by that word."""
    places = {"outputs": outputs, "temp": Path(tempfile.gettempdir())}
    if SHARED_MEMORY.is_dir():
        places["shared memory"] = SHARED_MEMORY
    found = {}
    for name, place in places.items():
        usage = shutil.disk_usage(place)
        found[name] = {"total_bytes": usage.total, "free_bytes": usage.free}
    return found


def limits() -> dict[str, Any]:
    """Files that a process may have open, as it is and as it could be made; None without a limit."""
    try:
        import resource
    except ImportError:  # Windows has other ones
        return {}
    now, most = (
        None if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return {"open_files": now, "open_files_at_most": most}
