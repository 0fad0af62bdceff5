"""service: the platform as a service of this system."""

from typing import Annotated

import typer

from cli.console import load_settings, out, reported

service = typer.Typer(help="Lets the system start the platform, and bring it back.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(service, name="service")


@service.command("install")
def install(
    only_print: Annotated[bool, typer.Option("--print", help="Print the unit and change nothing.")] = False,
) -> None:
    """Makes the platform a service of this user: systemd's on Linux, launchd's on macOS.

    It starts with the machine (on Linux after `loginctl enable-linger`), with the variables and the folder of now, and
    is brought back when even supervisor and sentinel were killed.

    \b
    duotempo service install --print
    duotempo down && duotempo service install
    """
    from infra.local import units
    from infra.local.platform import Platform

    with reported():
        platform = Platform(load_settings())
        if only_print:
            wanted = units.unit(platform)
            typer.echo(f"# {wanted.file}\n{wanted.text}", nl=False)
            return
        file = units.install(platform)
    out.print(f"{file} is in force: see duotempo status")


@service.command("remove")
def remove() -> None:
    """Stops the platform and takes the service away. Nothing is lost.

    \b
    duotempo service remove
    """
    from infra.local import units
    from infra.local.platform import Platform

    with reported():
        file = units.remove(Platform(load_settings()))
    out.print(f"{file} is gone, and the platform is down")
