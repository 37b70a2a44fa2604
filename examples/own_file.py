"""From a file as users hold it to bands and a forecast: simulate a raw frame, read it, fit, ask.

Run: python examples/own_file.py   (about a minute; few draws, so the status says that more are needed)
"""

import warnings

import bayesfactor as bf

frame = bf.simulate.frame(n_months=48, n_assets=60, n_characteristics=4, seed=1, ragged=True, missing=0.05)
panel = bf.read_frame(
    frame,
    time="date",
    asset="asset",
    returns="ret",
    returns_over="row",  # a row's return is over the row's own month
    lag=1,  # and its characteristics are used one calendar month later
    units="decimal",
    excess=True,
    size="size",
).rank_normalise()
print(panel)
print(panel.audit())  # raises LookAheadError if anything before a cut depends on data after it

train, test = panel.split(panel.times[36])
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)
    fit = bf.fit(bf.FundamentalFactorModel(hidden=(), noise="normal"), train, bf.NUTS(warmup=150, draws=150, chains=2))
print(fit)
print(bf.sensitivities(fit, train).to_dataframe().round(4))
live = bf.expected_returns(fit, test.live)
print(live["mean"].to_series().dropna().nlargest(5))
