"""Reports for people: one self-contained HTML file each, from the plain values that commands print as JSON."""
