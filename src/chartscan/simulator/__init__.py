"""A synthetic hospital with known risks: `simulate` writes it as FHIR R4 bulk NDJSON.

`life` lives one subject; `severity`, `onset` and `aftermath` hold the disease model and its true risks;
`fhir` and `export` write. Nothing here knows tasks, datasets or models. See docs/simulator.md.
"""

from chartscan.simulator.export import TRUTH, SimulateConfig, simulate

__all__ = ["TRUTH", "SimulateConfig", "simulate"]
