"""The commands, one file each; the command line and the Python API call them."""
