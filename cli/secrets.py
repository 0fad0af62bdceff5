"""secrets: the logins of the platform's own servers."""

from typing import Annotated, Literal

import typer

from cli.console import load_settings, reported

secrets = typer.Typer(help="Logins of Prefect's and MLflow's pages.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(secrets, name="secrets")


@secrets.command("show")
def show(service: Annotated[Literal["prefect", "mlflow"], typer.Argument(help="Whose page asks.")]) -> None:
    """Prints USER:PASSWORD. Prefect's page takes it as one text, MLflow's as two.

    \b
    duotempo secrets show prefect
    curl -u "$(duotempo secrets show mlflow)" http://127.0.0.1:5000/api/2.0/mlflow/users/current
    """
    from infra.home import logins
    from infra.home.home import Home

    with reported():
        settings = load_settings()
        typer.echo(logins.shown(service, Home(settings.home), settings))
