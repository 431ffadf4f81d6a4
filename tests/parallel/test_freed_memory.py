import subprocess
import sys

import pytest

HOLD_AND_TRIM = """
import numpy as np, psutil
from deepfake.parallel.pool import keep_freed_memory, trim_freed_memory
def resident_mb():
    return psutil.Process().memory_info().rss / 1e6
keep_freed_memory()
before = resident_mb()
held, pin = np.ones(25_000_000), np.ones(10)  # 200 MB below something that stays
del held
kept = resident_mb() - before
trim_freed_memory()
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_until_it_is_trimmed() -> None:
    done = subprocess.run([sys.executable, "-c", HOLD_AND_TRIM], capture_output=True, text=True, check=True)
    kept, trimmed = map(float, done.stdout.split())
    assert kept > 150
    assert trimmed < 50
