"""What users write: specs, names, privileges, validation and conditions. Pure."""
