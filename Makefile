# what is typed every day; .ci/run is all that must be green
.PHONY: install test slow lint types cov demo

install:
	uv sync

test:
	uv run --no-sync pytest -n 2 --dist loadfile

slow:
	uv run --no-sync pytest -m slow

lint:
	uv run --no-sync ruff check .
	uv run --no-sync ruff format --check .

types:
	uv run --no-sync mypy

cov:
	uv run --no-sync pytest -n 2 --dist loadfile --cov --cov-report=term --cov-report=html

demo:
	uv run --no-sync python scripts/train.py
