"""The table of shapes at equal bytes: a model beside decimation and Draco, boxes, and the nearest training shape."""
