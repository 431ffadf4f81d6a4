"""What a bug report needs, and whether everything works here: python scripts/doctor.py"""

from deepfake.cli import run

if __name__ == "__main__":
    run("doctor")
