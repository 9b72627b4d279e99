"""Live data of a venue: one shared session over as many sockets as it needs."""
