"""Trained arms as models, masks and tables of diagnoses."""
