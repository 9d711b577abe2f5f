//! Avro bytes to events and back: no I/O, no panic on any bytes, bounded memory.
