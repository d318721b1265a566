"""Faults by running them: real processes, real vaults, TLS and node keys (``make faults``).

For each fault a federation of two sites runs a small study with every phase: enrolment, two
rounds, scoring, release of k-space. ``python -m benchmarks.faults [WORD ..]`` runs the cases whose
name holds a word and prints a Markdown table; it ends with code 1 when a case ends otherwise than
it should.
"""
