"""All that audits one study, as one value that travels to the sites."""
