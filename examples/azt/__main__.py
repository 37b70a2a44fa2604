"""Deep factors and nonlinear betas of stocks, after Agarwal, Zouiten and Tulsian: losses, total R2, importance.

    python -m examples.azt --quick                    the embedded data, six fits
    python -m examples.azt --french ../shared/data    and Ken French's portfolios, the whole grid

Run it from the root of the repository. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import bayesfactor as bf
from examples.common import command

from . import markets, study
from .cells import Cell

# AZT's three losses and Student-t, with squared errors lambda_1 and shrunken betas too.
LOSSES = (
    Cell("squared"),
    Cell("squared", cross_section=1.0),
    Cell("squared", loading_sd=0.3),
    Cell("absolute"),
    Cell("huber"),
    Cell("student-t"),
)
QUICK = {"embedded": LOSSES, "french": (LOSSES[0], LOSSES[3], LOSSES[4])}
FULL = (*(cell._replace(layers=layers) for layers in (2, 1) for cell in LOSSES), Cell("squared", cross_section=10.0))


def main() -> None:
    """Run the study and write the folder."""
    parser = command.parser("azt", __doc__, out="azt")
    parser.add_argument("--warmup", type=int, help="draws of NUTS thrown away, a chain; 150 if quick, else 250")
    parser.add_argument("--draws", type=int, help="draws kept, a chain; 250 if quick, else 500")
    parser.add_argument("--chains", type=int, default=2)
    given = parser.parse_args()
    french = command.folder_of(parser, given)
    warmup, draws = (150, 250) if given.quick else (250, 500)
    nuts = bf.NUTS(warmup=given.warmup or warmup, draws=given.draws or draws, chains=given.chains)
    out = given.out / ("quick" if given.quick else "full")
    chosen = [] if given.only == "french" else [markets.embedded()]
    if french is not None:
        chosen.append(markets.french(french, since="1985-01" if given.quick else None))
    cells = QUICK if given.quick else dict.fromkeys(QUICK, FULL)
    results = [
        study.run(market, study.Protocol(cells[market.name], nuts), out, given.workers, command.tell)
        for market in chosen
    ]
    print(study.write(results, out, [command.made_by("azt", bf.__version__)]))


if __name__ == "__main__":
    main()
