"""The help of the commands: a flag is shown without a type, since it takes no value."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's parameters, `--help` included."""
        return _without_types_of_flags(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """The command `avfusion`, whose parameters are the other commands and a few flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The flags, `--help` included."""
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
