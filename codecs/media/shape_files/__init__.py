"""Readers of the formats of shapes: bytes -> `Parts`. None of them opens another file, and none allocates what its bytes do not bear out.

Text and plain binary formats are read here and not by trimesh, whose readers (5.2.0) take relative indices of OBJ for those of the whole
file, refuse binary PLY of mixed polygons, and read rows whose list counts differ from the first one's as if they did not.
"""
