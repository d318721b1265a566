"""Ports, processes, proxies, backups and stores of the machine a program runs on."""
