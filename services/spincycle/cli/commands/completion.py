"""The command completion: completion scripts for shells."""

from __future__ import annotations

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.options import SpincCommand


@click.command("completion", cls=SpincCommand, short_help=COMMANDS["completion"].summary)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a shell script that completes commands, requests, args and ids.

    \b
    bash:  eval "$(spinc completion bash)", for example in ~/.bashrc
    zsh:   spinc completion zsh > "${fpath[1]}/_spinc"
    fish:  spinc completion fish > ~/.config/fish/completions/spinc.fish

    Example: spinc completion bash
    """  # noqa: D301 # to click, a backspace means: keep the line breaks
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    root = context.find_root()
    script = completion(root.command, {}, "spinc", "_SPINC_COMPLETE").source()
    click.echo(_FITTED[shell](script), nl=False)


def _fit_bash(script: str) -> str:
    """Adapt the script for bash, so that no blank follows `name=`.

    Bash splits words at =, and there is nothing to complete after it.
    """
    before, after = script.split("    local response\n", 1)
    is_value = '[[ ${COMP_WORDS[COMP_CWORD]} == "=" || ${COMP_WORDS[COMP_CWORD-1]} == "=" ]]'
    script = f"{before}    local response\n    {is_value} && return 0\n{after}"
    before, after = script.split("    return 0\n}\n", 1)
    no_blank = "[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace"
    return f"{before}    {no_blank}\n    return 0\n}}\n{after}"


def _fit_zsh(script: str) -> str:
    """Adapt the script for zsh, so that no blank follows `name=`."""
    script = script.replace(
        "    local -a response\n", "    local -a response\n    local -a suffix\n", 1
    )
    script = script.replace(
        "    for type key descr in ${response}; do\n",
        "    for type key descr in ${response}; do\n"
        "        [[ \"$key\" == *= ]] && suffix=(-S '')\n",
        1,
    )
    script = script.replace("completions_with_descriptions -U\n", _WITH_SUFFIX, 1)
    return script.replace("compadd -U -V", 'compadd "${suffix[@]}" -U -V', 1)


_WITH_SUFFIX = 'completions_with_descriptions -U "${suffix[@]}"\n'


def _fit_fish(script: str) -> str:
    """Adapt the script for fish, so that a description may contain commas."""
    return script.replace('string split ","', 'string split --max 1 ","', 1)


_FITTED = {"bash": _fit_bash, "zsh": _fit_zsh, "fish": _fit_fish}
