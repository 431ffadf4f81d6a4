"""Show what an augmentation does to windows: python scripts/augment.py augment=selfblend data=demo"""

from deepfake.cli import run

if __name__ == "__main__":
    run("augment")
