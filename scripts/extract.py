"""Fill the face store of a corpus: python scripts/extract.py data=ffpp data.root=/path"""

from deepfake.cli import run

if __name__ == "__main__":
    run("extract")
