"""Attacks on this software, each a test that fails where the attack succeeds."""
