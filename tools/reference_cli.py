"""docs/reference/cli.md: every command with all its arguments and options, from click itself."""

import inspect
import textwrap
from collections.abc import Iterator

import click

from aftercall.cli.main import cli
from tools.reference_markdown import MADE, joined, table

_INTRODUCTION = (
    "Every command with all that it takes, as `aftercall COMMAND --help` says it. What they are "
    "for, with examples: [reference](../reference.md#the-command)."
)


def cli_page() -> str:
    """The whole page."""
    top = click.Context(cli, info_name="aftercall")
    commands = "\n\n".join(_section(context) for context in _commands(top))
    return joined("# The command, option by option", MADE, _INTRODUCTION, commands)


def _commands(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from _commands(click.Context(found, info_name=name, parent=context))


def _section(context: click.Context) -> str:
    command = context.command
    pieces = " ".join(command.collect_usage_pieces(context))
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    rows = [_row(one) for one in options if "--help" not in one.opts and not one.hidden]
    return joined(
        f"## {context.command_path}",
        f"```\n{context.command_path} {pieces}\n```",
        *_paragraphs(command.help or ""),
        table(["option", "form", "default", "meaning"], rows),
    ).rstrip()


def _paragraphs(help_: str) -> Iterator[str]:
    """What click would not wrap again, after a \\b, is code."""
    for paragraph in inspect.cleandoc(help_).split("\n\n"):
        before, kept, lines = paragraph.partition("\b\n")
        yield f"```\n{textwrap.dedent(lines).rstrip()}\n```" if kept else " ".join(before.split())


def _row(option: click.Option) -> list[str]:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return [names, _form(option), _default(option), option.help or ""]


def _form(option: click.Option) -> str:
    if option.is_flag:
        return "switch"
    if isinstance(option.type, click.Choice):
        form = ", ".join(f"`{choice}`" for choice in option.type.choices)
    elif isinstance(option.type, click.IntRange | click.FloatRange):
        form = f"number, {_limits(option.type)}"
    else:
        form = option.type.name
    return f"{form}; repeatable" if option.multiple else form


def _limits(range_: click.IntRange | click.FloatRange) -> str:
    low, high = range_.min, range_.max
    if low is None:
        return f"at most {high:,}"
    return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    if option.is_flag or option.multiple or callable(option.default):
        return ""
    if isinstance(option.default, str | int | float):
        return f"`{option.default}`"
    return ""
