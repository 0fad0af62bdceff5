"""Command `service`: installs the platform as a systemd or launchd service."""

from typing import Annotated

import typer

from cli.console import load_settings, out, report_errors

service = typer.Typer(help="Let the system start and restart the platform.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(service, name="service")


@service.command("install")
def install(
    only_print: Annotated[bool, typer.Option("--print", help="Print the unit and change nothing.")] = False,
) -> None:
    """Installs the platform as a user service: systemd on Linux, launchd on macOS.

    It starts at boot (on Linux after `loginctl enable-linger`), with the current environment variables and working
    directory, and restarts even if both supervisor and sentinel were killed.

    \b
    duotempo service install --print
    duotempo down && duotempo service install
    """
    from infra.local import units
    from infra.local.platform import Platform

    with report_errors():
        platform = Platform(load_settings())
        if only_print:
            wanted = units.unit(platform)
            typer.echo(f"# {wanted.file}\n{wanted.text}", nl=False)
            return
        file = units.install(platform)
    out.print(f"{file} is active: see duotempo status")


@service.command("remove")
def remove() -> None:
    """Stops the platform and removes the service. Data stays on disk.

    \b
    duotempo service remove
    """
    from infra.local import units
    from infra.local.platform import Platform

    with report_errors():
        file = units.remove(Platform(load_settings()))
    out.print(f"{file} is removed, and the platform is down")
