"""Measure speed and size against yardsticks: python scripts/benchmark.py target=extract"""

from deepfake.cli import run

if __name__ == "__main__":
    run("benchmark", module="benchmarks.run")
