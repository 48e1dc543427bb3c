"""The command `spincycle dev`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Directory of the database, kept between runs.",
)
@click.option("--ephemeral", is_flag=True, help="Delete the database at the end.")
@click.option(
    "--postgres-dsn",
    metavar="DSN",
    envvar="SPINCYCLE_DEV_POSTGRES_DSN",
    help="Use this PostgreSQL instead of the embedded one. With a password, set the variable "
    "SPINCYCLE_DEV_POSTGRES_DSN instead: every process can read a command line.",
)
@click.option(
    "--gateway-port", default=32308, show_default=True, help="Port of the gateway; 0 for any."
)
@click.option(
    "--request-manager-port",
    default=32310,
    show_default=True,
    help="Port of the request manager; 0 for any.",
)
@click.option(
    "--job-log-port", default=32312, show_default=True, help="Port of the job log; 0 for any."
)
@click.option("--free-ports", is_flag=True, help="Use any free ports.")
@click.option(
    "--job-runners",
    default=1,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Number of job runners.",
)
@click.option(
    "--specs",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Directory of spec files, instead of the examples.",
)
@click.option(
    "--jobs",
    multiple=True,
    metavar="MODULE:ATTRIBUTE",
    help="Job factory, instead of the examples; repeatable.",
)
@click.option(
    "--as",
    "people",
    multiple=True,
    metavar="NAME:ROLE,ROLE",
    help="Person who may call the services, with a token and a context of spinc; repeatable.",
)
def dev(
    data: Path | None,
    ephemeral: bool,
    postgres_dsn: str | None,
    gateway_port: int,
    request_manager_port: int,
    job_log_port: int,
    free_ports: bool,
    job_runners: int,
    specs: Path | None,
    jobs: tuple[str, ...],
    people: tuple[str, ...],
) -> None:
    """Start all services and a PostgreSQL on this machine; Ctrl-C stops them.

    The database is kept for the next run. By default, the specs and jobs of the examples are
    loaded. A service that dies is restarted.

    Root and the account that starts it may do everything. To see what others may do, name them with
    --as: each gets a token and a context of spinc, which are printed.
    """
    from spincycle.dev.console import Console
    from spincycle.dev.content import find_content
    from spincycle.dev.errors import StackError
    from spincycle.dev.foreground import run_with_stack, wait_until_cancelled
    from spincycle.dev.home import default_home
    from spincycle.dev.people import parse_people
    from spincycle.dev.services import FREE_PORTS, Ports
    from spincycle.dev.stack import Stack, StackConfig
    from spincycle.dev.welcome import welcome
    from spincycle.runtime.dumpable import set_dumpable

    set_dumpable(allowed=False)
    if ephemeral and data is not None:
        raise click.UsageError("--data and --ephemeral cannot be combined")
    try:
        persons = parse_people(people)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--as")
    ports = Ports(gateway_port, request_manager_port, job_log_port)
    console = Console()
    try:
        content = find_content(specs, jobs)
    except StackError as error:
        raise click.ClickException(str(error))
    config = StackConfig(
        content,
        home=None if ephemeral else data or default_home(),
        ports=FREE_PORTS if free_ports else ports,
        postgres_dsn=postgres_dsn,
        job_runners=job_runners,
        people=persons,
    )

    async def work(stack: Stack) -> int:
        console.write(f"\n{welcome(stack)}\nPress Ctrl-C to stop everything.\n")
        return await wait_until_cancelled()

    sys.exit(asyncio.run(run_with_stack(config, console, console.write_line, work)))
