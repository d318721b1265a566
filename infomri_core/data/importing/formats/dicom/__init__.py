"""DICOM as hospitals hold it."""
