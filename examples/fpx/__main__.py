"""Deep sorted factors on real data, after Feng, Polson and Xu (2020): fits, tables 2 to 6, figures 5, 7, 8, 9, a page.

    python -m examples.fpx --quick                    the embedded data, five fits
    python -m examples.fpx --french ../shared/data    and Ken French's portfolios, the whole grid

Run it from the root of the repository. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import bayesfactor as bf
from examples.common import command

from . import markets, study

# NUTS, not SVI: residual factors (few months) have no sign or order and networks have several modes, which a guide
# cannot follow; its k-hat says so.
# Linear sorts need some ten steps a draw; networks take all that they are given.
NUTS = bf.NUTS(warmup=250, draws=500, chains=4, max_tree_depth=7)
QUICK = {
    "embedded": study.Protocol((1, 2), (1, 2), (1.0,), False, NUTS),
    "french": study.Protocol((1,), (1, 2), (1.0,), False, NUTS),
}
FULL = {name: study.Protocol((1, 2), (1, 2, 3), (1.0, 0.1, 10.0), True, NUTS) for name in QUICK}


def main() -> None:
    """Run the study and write the folder."""
    parser = command.parser("fpx", __doc__, out="fpx")
    parser.add_argument("--layers", type=int, nargs="+", help="in place of the protocol's; FPX have 1 2 3 4")
    parser.add_argument("--factors", type=int, nargs="+", help="alike; FPX have 1 to 7")
    given = parser.parse_args()
    french = command.folder_of(parser, given)
    asked = {"layers": given.layers, "n_factors": given.factors}
    changed = {name: tuple(values) for name, values in asked.items() if values}
    protocols = {name: one._replace(**changed) for name, one in (QUICK if given.quick else FULL).items()}
    out = given.out / ("quick" if given.quick else "full")
    chosen = [] if given.only == "french" else [markets.embedded()]
    if french is not None:
        chosen.append(markets.french(french))
    results = [study.run(market, protocols[market.name], out, given.workers, command.tell) for market in chosen]
    print(study.write(results, out, [command.made_by("fpx", bf.__version__)]))


if __name__ == "__main__":
    main()
