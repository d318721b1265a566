"""Colours of figures beside those of the samplers (`infomri_core.sampling.registry.style_of`)."""

GREY = "#555555"
