"""How long something takes is said in the unit that people would use, and how far it is without a terminal too."""

import pytest
from rich.table import Table

from model_export.console import progress
from model_export.console.numbers import counted, lasting
from model_export.reporting import printing


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5900, "98 min"), (9000, "2.5 h")]
)
def test_a_duration_is_said_roughly(seconds, words):
    assert lasting(seconds) == words


def test_a_number_has_its_noun():
    assert [counted(number, "epoch") for number in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
    assert counted(2, "class", "classes") == "2 classes"


def test_without_a_terminal_long_work_is_told_in_lines_now_and_then(monkeypatch, capsys):
    assert list(progress.track("abc", 3, "load train")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""  # it was done at once

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1)
    assert list(progress.track("abc", 1234, "load train")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "".join(f"load train: {done} of 1,234\n" for done in (1, 2, 3))


def test_the_name_of_a_class_commands_no_terminal(capsys):
    table = Table("class", "recall")
    table.add_row("da\x1b[31mrk", "1.0")

    progress.console.print(table)
    progress.say("labels bri\x1b]0;ght, é\nsecond line")

    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "da\\x1b" in said  # and cut to the width that it has without
    assert said.endswith("labels bri\\x1b]0;ght, é\nsecond line\n")


@pytest.mark.parametrize("console", [progress.console, printing.out])
def test_a_line_is_printed_as_it_is_and_not_folded(console, capsys):
    """It may be a command to paste; square brackets and colons are rich's own signs."""
    line = "mv [red]a[/red] 'b:cat:' " + "very long " * 30 + "end"

    console.print(line)

    assert "".join(capsys.readouterr()) == f"{line}\n"
