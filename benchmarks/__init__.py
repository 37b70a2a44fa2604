"""Measurements that are not tests: calibration, real panels, speed. Tables go to docs/."""
