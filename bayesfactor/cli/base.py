"""What every command shares: consoles, how errors and warnings are shown, small helpers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from bayesfactor.errors import (
    BayesFactorError,
    BayesFactorWarning,
    ComparisonWarning,
    ConvergenceWarning,
    DataError,
)

if TYPE_CHECKING:
    import xarray as xr

console = Console()
errors = Console(stderr=True)


class Commands(typer.core.TyperGroup):
    """Prints the package's own errors as one message with exit code 2, and its warnings in yellow."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; anything that is not the package's own exception keeps its traceback."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", BayesFactorWarning)
            for told_anyway in (ConvergenceWarning, ComparisonWarning):  # with the status, and in the table
                warnings.simplefilter("ignore", told_anyway)
            show_own_warnings()
            try:
                return super().invoke(ctx)
            except (BayesFactorError, OSError) as error:
                errors.print(Text(f"{type(error).__name__}: {error}", style="bold red"))
                raise typer.Exit(2) from None
            except KeyboardInterrupt as stopped:
                if stopped.args:
                    errors.print(Text(str(stopped), style="yellow"))
                raise


def show_own_warnings() -> None:
    """Warnings of the package as one yellow line; others as Python shows them."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **also: Any) -> None:
        if issubclass(category, BayesFactorWarning):
            errors.print(Text(f"{category.__name__}: {message}", style="yellow"))
        else:
            usual(message, category, *where, **also)

    warnings.showwarning = show


def flags(names: Iterable[str]) -> str:
    """Options as they are typed."""
    return ", ".join("--" + name.replace("_", "-") for name in names)


def refuse(chosen: str, **options: object) -> None:
    """Refuse options that what was chosen does not have."""
    if said := [name for name, value in options.items() if value is not None]:
        raise DataError(f"{chosen} has no {flags(said)}: leave it out.")


def given(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that were made, as plain values; the rest keep the library's defaults."""
    made = {name: value for name, value in choices.items() if value is not None}
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in made.items()}


def require_folder(path: Path | None) -> None:
    """Refuse a file that could not be written before the work, not after."""
    if path is not None and not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist: make it, or save elsewhere")


def write_csv(result: xr.Dataset, path: Path | None) -> None:
    """Write a result as CSV where a path was given."""
    if path is not None:
        import bayesfactor as bf

        bf.to_csv(result, path)
        console.print(f"Wrote {path}.")
