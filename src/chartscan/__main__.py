"""`python -m chartscan`: the same as the command `chartscan`."""

from chartscan.cli import main

if __name__ == "__main__":
    main()
