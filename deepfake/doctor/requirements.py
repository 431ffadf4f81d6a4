"""What this project asks for against what is installed, and which extras are there."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

PROJECT = "deepfake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A package that is asked for: version, None where it is not installed; wrong: why it does not do."""

    name: str
    version: str | None
    wrong: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An optional part: the packages that it lacks, and the command that adds them."""

    name: str
    missing: tuple[str, ...]

    @property
    def mend(self) -> str:
        """How to add it; empty if it is there."""
        return f"uv sync --extra {self.name}" if self.missing else ""


def libraries() -> list[Library]:
    """What the project always needs, in the order of pyproject.toml; none if it is not installed itself."""
    return [look_up(requirement) for requirement in asked_for(None)]


def extras() -> list[Extra]:
    """All optional parts."""
    names = metadata(PROJECT).get_all("Provides-Extra") or [] if installed(PROJECT) else []
    return [
        Extra(
            name=name,
            missing=tuple(
                f"{found.name} {found.wrong}"
                for requirement in asked_for(name)
                if (found := look_up(requirement)).wrong
            ),
        )
        for name in names
    ]


def asked_for(extra: str | None) -> list[Requirement]:
    """What is asked for in this environment always, or by an extra beyond that."""
    found = [Requirement(text) for text in requires(PROJECT) or ()] if installed(PROJECT) else []
    always = [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
    if extra is None:
        return always
    return [
        one
        for one in found
        if one not in always and one.marker is not None and one.marker.evaluate({"extra": extra})
    ]


def look_up(requirement: Requirement) -> Library:
    """The installed package that a requirement means."""
    if not installed(requirement.name):
        return Library(name=requirement.name, version=None, wrong="is not installed")
    there = version(requirement.name)
    fits = requirement.specifier.contains(there, prereleases=True)
    wrong = "" if fits else f"{there} is outside {requirement.specifier}"
    return Library(name=requirement.name, version=there, wrong=wrong)


def installed(name: str) -> bool:
    """Whether there is a package of that name."""
    try:
        metadata(name)
    except PackageNotFoundError:
        return False
    return True
