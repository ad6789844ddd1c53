"""Admission: refuse what cannot be made true, while the user still looks."""
