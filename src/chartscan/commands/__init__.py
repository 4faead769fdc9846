"""What the commands do, one file each: put together of the other parts, called by the command line."""
