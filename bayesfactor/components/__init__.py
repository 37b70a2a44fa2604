"""Pure mathematics, one draw at a time: the law of a month, networks, noise. No ``numpyro.sample`` here."""
