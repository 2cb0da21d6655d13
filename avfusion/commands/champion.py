"""`avfusion champion`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from avfusion.runtime.errors import BadInputError

if TYPE_CHECKING:
    from avfusion.tracking.champion import Version


def champion(
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="Make this version champion.", show_default=False, min=1)
    ] = None,
    demote: Annotated[
        bool, typer.Option("--demote", help="Take the alias from the champion; predict then uses models/fusion.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the versions as JSON.")] = False,
) -> None:
    """List the registered versions, and say why each is champion or not; choose the champion by hand."""
    from avfusion.params.params import load_params
    from avfusion.runtime.project import project_root
    from avfusion.tracking import champion as registry

    if version is not None and demote:
        raise BadInputError("name a version or --demote: another version takes the champion's place anyway")
    root = project_root()
    name = load_params(root / "params.yaml", ["register"]).register.name
    said = ""
    if version is not None:
        done = registry.promote(root, name, version)
        said = f"{name} version {done.version} is champion: {done.reason}"
    elif demote:
        done = registry.demote(root, name)
        said = f"{name} version {done.version} is champion no more; `predict` uses models/fusion"
    found = registry.versions(root, name)
    if as_json:
        print(json.dumps({"name": name, "versions": [each.facts() for each in found]}, indent=1))
        return
    if said:
        print(said)
    if not found:
        print(f"{name} has no version: `dvc repro` or `avfusion register` makes one")
        return
    _print_table(found)


def _print_table(found: "list[Version]") -> None:
    import os

    from rich.console import Console
    from rich.table import Table

    from avfusion.runtime.quantities import utc
    from avfusion.tracking.registry import CHAMPION

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("version", "alias", "CCC", "corpus", "registered", "why"):
        table.add_column(heading, no_wrap=heading != "why", justify="right" if heading == "CCC" else "left")
    for each in found:
        entry = each.registration
        score = entry.metrics.get("ccc_mean")
        table.add_row(
            entry.version,
            ", ".join(entry.aliases) or "–",
            "–" if score is None else f"{score:.3f}",
            entry.validation[:8] or "–",
            utc(each.registered_s),
            entry.reason,
        )
    console = Console(highlight=False, markup=False, width=None if os.isatty(1) else 140)
    console.print(table)
    if not any(CHAMPION in each.registration.aliases for each in found):
        console.print("no champion: `avfusion champion VERSION` makes one; until then `predict` uses models/fusion")
