"""Other people's estimators behind fit and forecast: what a posterior must beat."""
