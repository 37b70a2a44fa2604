"""`python -m bayesfactor.cli`."""

from bayesfactor.cli import app

app()
