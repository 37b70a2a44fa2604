"""Out of sample on the embedded panel: two baselines and the linear model walk forward, then they are compared.

Run: python examples/walk_forward.py   (a minute or two; ten test months are too few for a verdict, and it says so)

A second run reads the results from the folder `walks`, at once.
"""

import warnings

import bayesfactor as bf
from bayesfactor.baselines import Ridge, Zero

panel = bf.datasets.us_equities().sel(characteristic=["log_me", "bm", "rev_1m"])
windows = bf.Windows.expanding(12, test=5)  # learn from 12 months, then from 17; the live month comes last
linear = bf.FundamentalFactorModel(hidden=(), noise="normal")
forecasters = {
    "zero": (Zero(), None),
    "ridge": (Ridge(), None),
    "linear": (linear, bf.NUTS(warmup=150, draws=150, chains=2)),
}

walks = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bf.errors.ConvergenceWarning)  # few draws: the status says so
    for name, (forecaster, inference) in forecasters.items():
        walks[name] = bf.walk_forward(forecaster, panel, inference, windows, store=f"walks/{name}", name=name)
        print(walks[name])

print(walks["linear"].windows[["train_last", "test_first", "test_last", "n_train", "status", "seconds"]])
print(walks["linear"].to_dataframe()[["mean", "sd", "realised", "pit"]].round(4).head())
with warnings.catch_warnings():
    warnings.simplefilter("ignore", bf.errors.ComparisonWarning)  # ten months, few draws: in the table too
    table = bf.compare(walks, common=True)  # whose mean is better, one covariance for all
print(table.drop(columns="warnings").round(3).to_string())
live = walks["linear"].live
print(live["mean"].isel(time=-1).to_series().dropna().nlargest(5).round(4))
