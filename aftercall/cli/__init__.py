"""The `aftercall` command. Prints, asks, starts processes; what is done is done by flows."""
