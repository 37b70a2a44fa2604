"""The import table holds, the command line starts without JAX, and every public name is documented."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import bayesfactor as bf

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("jax", "numpyro", "equinox", "arviz_stats", "pandas", "xarray", "matplotlib")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command as main; main()"
    done = run("-c", code, "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("entry", ["import bayesfactor", "import bayesfactor.cli", "from bayesfactor import errors"])
def test_the_package_and_the_command_line_import_nothing_heavy(entry: str) -> None:
    done = run("-c", f"{entry}; import sys; print([name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, runpy; sys.argv = ['bayesfactor', '--help']\n"
        "try: runpy.run_module('bayesfactor.cli', run_name='__main__')\n"
        f"finally: print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    assert "sensitivities" in done.stdout


def test_the_panel_imports_no_jax() -> None:
    done = run("-c", "import bayesfactor.panel, sys; print('jax' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("name", [name for name in bf.__all__ if name != "__version__"])
def test_public_names_resolve_and_are_documented(name: str) -> None:
    public = getattr(bf, name)
    assert inspect.getdoc(public), f"bayesfactor.{name} has no docstring"
    if inspect.isfunction(public):
        assert "Returns\n-------" in inspect.getdoc(public), f"bayesfactor.{name} does not say what it returns"


@pytest.mark.parametrize("module", ["plots", "metrics", "simulate", "datasets", "report", "evaluation", "quantities"])
def test_public_functions_of_modules_say_what_they_return(module: str) -> None:
    home = getattr(bf, module, None) or __import__(f"bayesfactor.{module}", fromlist=["_"])
    names = getattr(home, "__all__", None) or [
        name
        for name, member in vars(home).items()
        if inspect.isfunction(member) and member.__module__ == home.__name__ and not name.startswith("_")
    ]
    functions = [getattr(home, name) for name in names if inspect.isfunction(getattr(home, name))]
    assert functions
    silent = [f.__name__ for f in functions if "Returns\n-------" not in (inspect.getdoc(f) or "")]
    assert not silent, f"{home.__name__}: without a Returns section: {silent}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bf.nonsense
