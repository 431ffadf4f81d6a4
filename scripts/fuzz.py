"""Send hostile files through prediction or extraction: python scripts/fuzz.py checkpoint=FILE.ckpt"""

from deepfake.cli import run

if __name__ == "__main__":
    run("fuzz", module="benchmarks.fuzz")
