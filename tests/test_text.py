import csv
import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from deepfake.corpora.corpus import read_csv
from deepfake.errors import UserError
from deepfake.faces.video_faces import file_of
from deepfake.io import VisibleFormatter, storable, visible, write_csv
from deepfake.reports.html import TextConsole, markdown_row, write_page
from deepfake.reports.plots import plain_name

NAMES = [
    "new\nline", "return\rline", "tab\tstop", 'quo"te', "it's", "a,b;c", "=1+1", "@x", "+2", "-r", "../../up",
    "\x1b[31mred\x1b]0;title\x07", "[red]rich[/red]", ":cat:", "<script>alert(1)</script>", '"><img src=x>',
    "$\\frac{1", "${oc.env:HOME}", "{{ 7 * 7 }}", "%s%n", "\u202egpj.exe", "", " ", "é" * 100,
]  # fmt: skip


def test_csv_keeps_every_name_as_it_is(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ("name", "number"), [{"name": n, "number": 1.5} for n in NAMES])
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["name"], row["number"]) for row in csv.DictReader(file)] == [(n, "1.5") for n in NAMES]
    write_csv(tmp_path / "plain.csv", ("a", "b"), [{"a": "x,y", "b": None}])
    assert (tmp_path / "plain.csv").read_bytes() == b'a,b\n"x,y",\n'


def test_bytes_that_are_no_utf8_are_told_by_their_number(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.mp4")
    assert storable(name) == r"caf\xe9 \xff.mp4"
    assert storable("café \ud800") == r"café \ud800"
    write_csv(tmp_path / "x.csv", ("name",), [{"name": name}])
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "name\ncaf\\xe9 \\xff.mp4\n"


def test_what_is_shown_has_no_control_characters() -> None:
    assert visible("a\x1b[2Jb\x00\x7f\x9b\u202ec\udcff\nd\r") == r"a\x1b[2Jb\x00\x7f\x9b\u202ec\xff\nd\r"
    assert visible("a\n\tb\r", lines=True) == "a\n\tb\\r"
    assert visible("naïve 日本 🎬") == "naïve 日本 🎬"


def test_a_name_in_a_log_neither_steers_the_terminal_nor_begins_a_line() -> None:
    record = logging.LogRecord(
        "x", 20, "x.py", 1, "%s: %d\nsecond %s", ("a\x1b[2J\nerror: b", 3, Path("c\nd")), None
    )
    assert VisibleFormatter("%(message)s").format(record) == "a\\x1b[2J\\nerror: b: 3\nsecond c\\nd"
    assert record.args == ("a\x1b[2J\nerror: b", 3, Path("c\nd"))


def test_the_terminal_shows_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[bold]head[/bold]", title="[red]title[/red] :cat:")
    table.add_row("[link=https://x]cell[/link]\x1b[2J")
    console = TextConsole()
    console.print(table)
    console.print("[red]line[/red]\x1b]0;x\x07", soft_wrap=True)
    shown = capsys.readouterr().out
    for text in ("[bold]head[/bold]", "[red]title[/red] :cat:", r"[link=https://x]cell[/link]\x1b[2J"):
        assert text in shown
    assert r"[red]line[/red]\x1b]0;x\x07" in shown
    assert "\x1b" not in shown


def test_a_row_of_markdown_stays_one_row_without_html() -> None:
    assert markdown_row(["a|b\nc", "<img src=x>"]) == r"| a\|b\nc | &lt;img src=x> |"


def test_a_page_escapes_names_and_shows_control_characters(tmp_path: Path) -> None:
    given: dict[str, Any] = {"title": "</p><script>x</script>\x1b\udcff"}
    write_page(tmp_path / "x.html", "page.html.j2", **given)
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert r"&lt;/p&gt;&lt;script&gt;x&lt;/script&gt;\x1b\xff" in text
    assert "<script>x" not in text


def test_dollars_in_a_name_are_no_formula() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    title = figure.subplots().set_title(plain_name("$\\frac{1$ and $2"))
    figure.savefig(io.BytesIO())
    assert title.get_text() == r"\$\frac{1\$ and \$2"


def test_a_key_s_file_lies_in_the_store_and_fits_any_disk(tmp_path: Path) -> None:
    assert file_of("Deepfakes/c23/519_515") == "faces/Deepfakes/c23/519_515.arrow"
    long = {key: file_of(key) for key in ("x" * 251, "x" * 250 + "y", "é" * 125, f"real/{'z' * 230}")}
    assert len(set(long.values())) == len(long)
    for file in long.values():
        assert len(Path(file).name.encode()) <= 200 + len(".arrow")
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{file}.1234567890ab.deepfake-part").touch()
    for key in ("../x", "a/../../x", "/etc/x", "..", "", "a\0b"):
        with pytest.raises(UserError):
            file_of(key)


def test_a_csv_that_csv_cannot_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for text, line in ((f"path,label\nx,{'a' * 140_000}\n", 2), ("a" * 140_000, 1)):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"x\.csv, line {line}"):
            list(read_csv(path))


def test_json_is_ascii_whatever_the_names() -> None:
    assert json.loads(json.dumps(NAMES)) == NAMES
    assert json.dumps(NAMES).isascii()
