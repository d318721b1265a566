"""Samplers that decide as they measure, in turns: their masks tell of the patient."""
