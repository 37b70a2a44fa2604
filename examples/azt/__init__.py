"""The study of Agarwal, Zouiten and Tulsian with posteriors: ``python -m examples.azt --quick`` in the repository."""
