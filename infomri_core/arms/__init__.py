"""An arm of a study: a sampler and a network in one module, and its weights as one flat array."""
