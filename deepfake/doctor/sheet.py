"""A report on the terminal and as text: sections of aligned lines, as wide as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deepfake.doctor.codecs import OK
from deepfake.doctor.machine import GB

Report = Mapping[str, Any]
STYLES = {OK: "green", "failed": "bold red", "skipped": "dim", "running": "yellow", "no": "yellow"}
STAGE_CHARS = 9


def print_facts(console: Console, report: Report) -> None:
    """Everything but the self-test."""
    about = report["about"]
    console.print(Text(f"deepfake {about['deepfake']}, commit {about['commit']}", "bold"))
    section(console, "System", pairs(system_lines(report)))
    section(console, "Libraries", library_columns(report["libraries"]))
    section(console, "Codecs", codec_table(report["codecs"]))
    section(console, "Extras", pairs(extra_lines(report["extras"])))


def print_end(console: Console, report: Report) -> None:
    """What is to be mended; a word if nothing is."""
    if report["notes"]:
        listed = Table.grid(padding=(0, 1))
        for note in report["notes"]:
            listed.add_row(Text("!", "yellow"), Text(note))
        section(console, "To look at", listed)
    else:
        console.print(Text("\nNothing to mend was found.", "green"))


def section(console: Console, title: str, body: RenderableType) -> None:
    """A title, and below it the body a little to the right."""
    console.print(Text(f"\n{title}", "bold cyan"))
    console.print(Padding(body, (0, 0, 0, 2)))


def pairs(lines: Iterable[tuple[str, str]]) -> Table:
    """Names beside values, which wrap in their own column."""
    table = Table.grid(padding=(0, 2))
    for name, value in lines:
        table.add_row(Text(name, "dim", no_wrap=True), Text(value, STYLES.get(value, "")))
    return table


def system_lines(report: Report) -> list[tuple[str, str]]:
    """Machine, disks and limits in words."""
    about, cpu, gpu, disks = (report[name] for name in ("about", "processor", "accelerators", "disks"))
    cores = f"{cpu['usable_cores']} of {cpu['cores']} cores"
    memory = f"{gigabytes(cpu['usable_memory_bytes'])}, {gigabytes(cpu['free_memory_bytes'])} free"
    gpus = [f"{one['name']}, {gigabytes(one['memory_bytes'])}, sm {one['capability']}" for one in gpu["gpus"]]
    built = f"built for CUDA {gpu['torch_cuda']}" if gpu["torch_cuda"] else "built without CUDA"
    lines = [
        ("system", about["system"]),
        ("Python", about["python"]),
        ("FFmpeg", f"{about['ffmpeg']} in PyAV"),
        ("processor", f"{cpu['model']}, {cores}"),
        ("memory", memory),
        ("GPU", f"{'; '.join(gpus) or 'no CUDA device'}; torch is {built}"),
        ("MPS", "yes" if gpu["mps"] else "no"),
        *(
            (name, f"{gigabytes(disk['free_bytes'])} free of {gigabytes(disk['total_bytes'])}")
            for name, disk in disks.items()
        ),
    ]
    if "open_files" in report["limits"]:
        limits = [report["limits"][name] for name in ("open_files", "open_files_at_most")]
        now, most = ("no limit" if limit is None else str(limit) for limit in limits)
        lines.append(("open files", f"{now} at a time, could be {most}"))
    return [*lines, ("W&B", report["wandb"])]


def library_columns(libraries: Sequence[Mapping[str, Any]]) -> Columns:
    """Names and versions, in as many columns as there is room for."""
    cells = []
    for library in libraries:
        style = "bold red" if library["wrong"] else ""
        cells.append(Text.assemble((f"{library['name']} ", "dim"), (library["version"] or "missing", style)))
    return Columns(cells, padding=(0, 3), equal=True, column_first=True)


def codec_table(codecs: Mapping[str, Mapping[str, str]]) -> Group:
    """A line a codec, a column a trial, and below them why some fail."""
    trials = list(next(iter(codecs.values()), {}))
    table = Table("", *trials, box=None, padding=(0, 2, 0, 0), header_style="dim")
    reasons: list[Text] = []
    for name, answers in codecs.items():
        marks = [OK if answers[trial] == OK else "no" for trial in trials]
        table.add_row(Text(name, "dim", no_wrap=True), *(Text(mark, STYLES[mark]) for mark in marks))
        reasons += [Text(f"{name}, {t}: {answers[t]}", "dim") for t in trials if answers[t] != OK]
    return Group(table, *reasons)


def extra_lines(extras: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each optional part: there, or what adds it."""
    return [(one["name"], f"missing, {one['mend']} adds it" if one["mend"] else OK) for one in extras]


def stage_line(stage: Mapping[str, Any]) -> Text:
    """A line of the self-test: stage, seconds, how it went."""
    seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.1f} s"
    error = f"  {stage['error']}" if stage["error"] else ""
    return Text.assemble(
        (f"  {stage['stage']:<{STAGE_CHARS}}", "dim"),
        f"{seconds:>7}  ",
        (stage["status"], STYLES.get(stage["status"], "")),
        error,
    )


def gigabytes(num: float) -> str:
    """Bytes in GB of 10^9."""
    return f"{num / GB:.1f} GB"
