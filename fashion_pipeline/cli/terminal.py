"""What commands share in talking to a person: the ``--json`` option, messages and questions."""

from __future__ import annotations

import sys

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")


def say(sentence: str) -> None:
    """Print a message on standard error."""
    click.echo(f"fashion-pipeline: {sentence}", err=True)


def confirm(question: str) -> None:
    """Continue only if a person answers yes.

    Raises:
        click.UsageError: standard input is not a terminal.
        click.Abort: the answer is no.
    """
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        msg = f"{question} There is no terminal to ask on: add --yes"
        raise click.UsageError(msg)
    click.confirm(question, abort=True, err=True)
