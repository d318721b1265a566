"""Readers of hospitals' formats: DICOM, ISMRMRD, NIfTI, pictures."""
