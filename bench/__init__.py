"""The benchmark: aftercall beside what people would use instead. `python -m bench --help`."""
