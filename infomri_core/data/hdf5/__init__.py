"""The one guarded way to open HDF5 files from outside."""
