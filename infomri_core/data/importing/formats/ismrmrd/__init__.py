"""Raw data in the ISMRMRD format."""
