"""Suppression: what a mask tells of an image, as a penalty on the sampling policy."""
