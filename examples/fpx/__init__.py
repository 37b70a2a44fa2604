"""The study of Feng, Polson and Xu (2020) on real data: ``python -m examples.fpx --quick`` in the repository."""
