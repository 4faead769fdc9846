"""chartscan: from patient records to a sequence model a hospital can run itself."""

__version__ = "0.1.0"
__all__ = ["__version__"]
