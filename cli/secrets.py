"""Command `secrets`: the logins of the platform's Prefect and MLflow servers."""

from typing import Annotated, Literal

import typer

from cli.console import load_settings, report_errors

secrets = typer.Typer(help="Logins for the pages of Prefect and MLflow.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(secrets, name="secrets")


@secrets.command("show")
def show(service: Annotated[Literal["prefect", "mlflow"], typer.Argument(help="The server to log in to.")]) -> None:
    """Prints USER:PASSWORD. Prefect's page takes it as one string, MLflow's as two fields.

    \b
    duotempo secrets show prefect
    curl -u "$(duotempo secrets show mlflow)" http://127.0.0.1:5000/api/2.0/mlflow/users/current
    """
    from infra.home import logins
    from infra.home.home import Home

    with report_errors():
        settings = load_settings()
        typer.echo(logins.login_text(service, Home(settings.home), settings))
