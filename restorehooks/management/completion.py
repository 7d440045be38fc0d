"""Shell completion for the command ``restorehooks``, printed by ``restorehooks completion``.

``manage.py`` is completed by Django's own script (extras/django_bash_completion).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.core.management.base import BaseCommand, DjangoHelpFormatter

SCRIPT = """\
# For bash and zsh: eval "$(restorehooks completion)"
if [ -n "${{ZSH_VERSION-}}" ]; then
    autoload -U +X compinit && compinit
    autoload -U +X bashcompinit && bashcompinit
fi
_restorehooks() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{names}"
    elif [ "${{word#-}}" != "$word" ]; then
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _restorehooks restorehooks
"""
FOR_PROJECTS = {"--settings", "--pythonpath"}


def completion(commands: Mapping[str, BaseCommand], others: Collection[str]) -> str:
    """Return the script: the commands' options, the names of all, and files anywhere else."""
    cases = "\n".join(
        f'            {name}) words="{" ".join(_options(name, command))}" ;;'
        for name, command in sorted(commands.items())
    )
    return SCRIPT.format(names=" ".join(sorted([*commands, *others])), cases=cases)


def _options(name: str, command: BaseCommand) -> list[str]:
    parser = command.create_parser("restorehooks", name)
    found = [option for action in parser._actions for option in action.option_strings]
    hidden = FOR_PROJECTS | (DjangoHelpFormatter.show_last - {"--verbosity"})
    return sorted(option for option in found if option.startswith("--") and option not in hidden)
