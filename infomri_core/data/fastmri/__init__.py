"""fastMRI volumes and the fastMRI+ annotations."""
