"""`avfusion --version`."""

import typer


def print_versions(ctx: typer.Context, wanted: bool) -> None:
    """Print the versions of avfusion, Python and torch, and exit; torch is not imported."""
    if not wanted or ctx.resilient_parsing:  # the shell asks for completions
        return
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from avfusion import __version__

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "is not installed"
    print(f"avfusion {__version__}, Python {python_version()}, torch {torch}")
    raise typer.Exit
