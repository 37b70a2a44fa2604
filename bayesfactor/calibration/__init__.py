"""Is a model calibrated: simulation-based calibration of any model with the inference that is used on it."""

from bayesfactor.calibration.design import Design
from bayesfactor.calibration.result import CalibrationResult
from bayesfactor.calibration.study import calibrate

__all__ = ["CalibrationResult", "Design", "calibrate"]
