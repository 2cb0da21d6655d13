"""ARCHITECTURE.md: its rooms are the folders, in the order that the linter keeps; the files that it names exist."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """The text below a heading."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_rooms_are_the_folders_in_the_order_of_the_contract() -> None:
    rooms = re.findall(r"^\| `(\w+)` \|", section("Rooms, from the top down"), flags=re.MULTILINE)
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [f"avfusion.{room}" for room in rooms] == [layer for layer in contract["layers"] if layer != "avfusion.cli"]
    folders = {path.parent.name for path in (ROOT / "avfusion").glob("*/__init__.py")}
    assert folders == set(rooms)
    loose = {path.name for path in (ROOT / "avfusion").glob("*.py")}
    assert loose == {"__init__.py", "cli.py"}


def test_files_that_it_names_exist() -> None:
    named = re.findall(
        r"`([\w./-]+(?:\.(?:py|md|yaml)|/))`", section("Where to change what") + section("Units and stamps")
    )
    assert len(named) > 70
    for name in named:
        assert (ROOT / "avfusion" / name).exists() or (ROOT / name).exists(), name


def test_modules_on_the_datas_way_exist() -> None:
    """A path is below the room named last, or names a room itself."""
    steps = re.findall(r"[─ ] ([a-z]+/[\w/, +.]*?) ─", section("The data's way"))
    assert len(steps) == 12
    for step in steps:
        room = ""
        for name in re.split(r", | \+ ", step):
            first = name.partition("/")[0]
            room = first if (ROOT / "avfusion" / first).is_dir() else room
            path = ROOT / "avfusion" / (name if first == room else f"{room}/{name}")
            assert path.is_dir() if name.endswith("/") else path.is_file(), name
