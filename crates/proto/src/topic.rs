//! MQTT topics as types. Owned by the MQTT transport; the client uses the same.
