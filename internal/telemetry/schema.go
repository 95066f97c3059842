package telemetry

import _ "embed"

// LogSchema is the JSON Schema of a line of the event log.
//
//go:embed schema.json
var LogSchema []byte

// SnapshotSchema is the JSON Schema of a Snapshot.
//
//go:embed snapshot.schema.json
var SnapshotSchema []byte
