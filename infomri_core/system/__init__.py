"""What every program needs of its machine: files, processes, devices, logs, seeds, errors."""
