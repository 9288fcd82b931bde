"""The `unsilo` command: what people run. One module for each thing that is asked about."""
