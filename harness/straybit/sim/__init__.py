"""The backend `sim`: the nodes' pure cores in one process on virtual time, with the same wires and flips."""
