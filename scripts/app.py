"""Judge videos on a local web page: python scripts/app.py checkpoint=FILE.ckpt [port=8000]"""

from deepfake.cli import run

if __name__ == "__main__":
    run("app")
