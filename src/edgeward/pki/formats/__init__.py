"""Every format in which keys, certificates and their kin are kept in files: reading, recognising and writing."""
