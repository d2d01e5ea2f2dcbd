"""Calibration: how far a simulation is from what a real server did with the same requests."""
