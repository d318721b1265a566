"""The study plan: one TOML text as a value, and the rules that make one impossible."""
