"""From what hospitals hold (DICOM, ISMRMRD, NIfTI, pictures) to a de-identified slice archive."""
