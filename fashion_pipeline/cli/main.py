"""The command line ``fashion-pipeline``: its commands, and how an error ends it.

Exit codes: 0 done, 1 something failed that a retry may fix, 2 wrong use or configuration, 130
interrupted. With ``--json``, ``demo`` and ``ingest`` print one JSON object as their last line;
everything else goes to standard error.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

import click

from fashion_pipeline import __version__
from fashion_pipeline.cli.demo import demo
from fashion_pipeline.cli.dev import dev
from fashion_pipeline.cli.exit_codes import INTERRUPTED, WRONG_USE, exit_code
from fashion_pipeline.cli.ingest import ingest
from fashion_pipeline.cli.maintenance import gc, migrate, purge, reconcile
from fashion_pipeline.cli.model import model
from fashion_pipeline.cli.search import search
from fashion_pipeline.cli.setup import check, doctor, init
from fashion_pipeline.cli.status import outcomes, status
from fashion_pipeline.cli.terminal import say
from fashion_pipeline.errors import FashionError


def main() -> NoReturn:
    """Run the command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager stops a run as Ctrl-C does
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USE)
    except (click.Abort, KeyboardInterrupt):
        say("interrupted; rerun the command to resume")
        sys.unraisablehook = lambda _: None  # generators that the run left open would print a traceback
        sys.exit(INTERRUPTED)
    except FashionError as error:
        say(str(error))
        sys.exit(exit_code(error))
    except UnicodeEncodeError:
        wrong = [argument for argument in sys.argv if not argument.isprintable()]
        if not wrong:
            raise
        say(f"{wrong[0]!r} is not valid UTF-8; check this argument")
        sys.exit(WRONG_USE)
    sys.exit(0)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--verbose", "-v", is_flag=True, help="Log debug messages to standard error.")
def cli(*, verbose: bool) -> None:
    """Keep PostgreSQL and Qdrant in sync with WooCommerce shops."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s" if verbose else "fashion-pipeline: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("fashion_pipeline").setLevel(logging.DEBUG if verbose else logging.INFO)
    for noisy in ("httpx", "httpcore", "huggingface_hub", "open_clip", "PIL", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not verbose:  # it warns of generators that an interrupted run left open
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


for _command in (
    init,
    check,
    doctor,
    ingest,
    demo,
    dev,
    status,
    outcomes,
    search,
    reconcile,
    purge,
    gc,
    migrate,
    model,
):
    cli.add_command(_command)
