"""Write a detector as one file for other programs: python scripts/export.py checkpoint=FILE.ckpt"""

from deepfake.cli import run

if __name__ == "__main__":
    run("export")
