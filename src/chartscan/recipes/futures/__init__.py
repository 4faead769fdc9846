"""What forecasts start from and are measured against.

Histories as a forecasting model reads them, what the tasks say of a sampled future, and the forecasts that
need no network.
"""
