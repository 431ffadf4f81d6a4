"""Check a corpus on disk, its splits and their leaks: python scripts/audit.py data=celebdf data.root=/path"""

from deepfake.cli import run

if __name__ == "__main__":
    run("audit")
