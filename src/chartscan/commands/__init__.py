"""What the commands do, one file each; called by the command line and the Python API."""
